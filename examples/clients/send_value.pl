#!/usr/bin/env perl
# Send one value over UDP: perl send_value.pl PROCESS PATH VALUE
use strict;
use warnings;
use IO::Socket::INET;

die "usage: perl send_value.pl PROCESS PATH VALUE\n" unless @ARGV == 3;
my $door = IO::Socket::INET->new(
    Proto    => 'udp',
    PeerAddr => $ENV{DATTSS_SERVER_UDP_HOST} // '127.0.0.1',
    PeerPort => $ENV{DATTSS_SERVER_UDP_PORT} // 8127,
) or die "no socket: $!\n";
$door->send(join ':', $ENV{DATTSS_AUTH_KEY} // '', @ARGV) or die "not sent: $!\n";
