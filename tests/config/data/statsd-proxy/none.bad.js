{ port: 8125 }
