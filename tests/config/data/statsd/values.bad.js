{
  port: 70000,
  server: './servers/http',
  socket: '/tmp/x',
  backends: ['./backends/graphite', 'amqp'],
  graphiteProtocol: 'protobuf',
  flushInterval: -1,
  percentThreshold: [90, 'high'],
  histogram: [{metric: 'x', bins: [5, 1]}, 7],
  calculatedTimerMetrics: [1],
  mgmt_port: 1.5,
  healthStatus: 'fine',
  keyFlush: 5,
  repeater: [{port: 'x'}],
  graphite: {globalPrefix: 5},
  flushInterwal: 10000,
  prefixStats: 7
}
