<?php
// Send one value over UDP: php send_value.php PROCESS PATH VALUE
if ($argc !== 4) {
    fwrite(STDERR, "usage: php send_value.php PROCESS PATH VALUE\n");
    exit(2);
}
$host = getenv('DATTSS_SERVER_UDP_HOST') ?: '127.0.0.1';
$port = (int) (getenv('DATTSS_SERVER_UDP_PORT') ?: 8127);
$door = @fsockopen("udp://$host", $port, $code, $why);
$line = implode(':', [getenv('DATTSS_AUTH_KEY') ?: '', $argv[1], $argv[2], $argv[3]]);
if ($door === false || fwrite($door, $line) !== strlen($line)) {
    fwrite(STDERR, "not sent: $why\n");
    exit(1);
}
