"""What happens to datapoints by their names."""
