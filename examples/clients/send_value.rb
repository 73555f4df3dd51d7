# Send one value over UDP: ruby send_value.rb PROCESS PATH VALUE
require 'socket'

abort 'usage: ruby send_value.rb PROCESS PATH VALUE' unless ARGV.length == 3
host = ENV.fetch('DATTSS_SERVER_UDP_HOST', '127.0.0.1')
port = Integer(ENV.fetch('DATTSS_SERVER_UDP_PORT', '8127'))
UDPSocket.new.send([ENV.fetch('DATTSS_AUTH_KEY', ''), *ARGV].join(':'), 0, host, port)
