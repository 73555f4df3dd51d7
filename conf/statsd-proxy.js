/*
 * statsd-proxy.js: `twistd statsd-proxy --config=statsd-proxy.js`, in the form of statsd's proxyConfig.js.
 *
 * Lines are spread over the nodes by a ring of hashes of the text before the first colon; a node that does not answer
 * its health check leaves the ring until it answers again.
 */
{
  nodes: [
    {host: '127.0.0.1', port: 8127, adminport: 8128},
    {host: '127.0.0.1', port: 8129, adminport: 8130},
    {host: '127.0.0.1', port: 8131, adminport: 8132}
  ],
  server: './servers/udp',     // or ./servers/tcp; nodes are always sent datagrams
  host: '0.0.0.0',             // address to listen on
  port: 8125,
  address_ipv6: false,         // listen on :: unless host says otherwise
  mgmt_address: '127.0.0.1',   // management: help, config, health [up|down], status, quit
  mgmt_port: 8126,
  checkInterval: 10000,        // milliseconds between health checks, and the patience with one
  forkCount: 0                 // processes, or 'auto'
}
