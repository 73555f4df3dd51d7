{
  nodes: [
    {host: 'h', port: 1},
    {host: 'h', port: 70000, adminport: 2},
    {host: 'h', port: 3, adminport: 4, weight: 5},
    {host: 'h', port: 3, adminport: 5},
    'h:1'
  ],
  server: './servers/pigeon',
  port: 'many',
  mgmt_port: 8125,
  checkInterval: 5,
  cacheSize: 10000,
  forkCount: true,
  nodez: 1
}
