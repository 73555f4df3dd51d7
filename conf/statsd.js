// Every option of `twistd statsd --config=FILE`, with its default.  The file is read, never evaluated; it is read
// again when it changes, but for listeners and destinations.  Times are milliseconds.
{
  // ---- receiving: one server from the top level, or a list of them
  server: './servers/udp',              // or './servers/tcp'
  address: '0.0.0.0',
  address_ipv6: false,
  port: 8125,
  // socket: '/run/statsd.sock',        // a unix socket in place of a port (tcp only)
  // socket_mod: 0x1b6,                 // its permissions
  // servers: [{ server: './servers/udp', port: 8125 }, { server: './servers/tcp', port: 8125 }],
  keyNameSanitize: true,                // blanks become _, slashes -, anything but a-zA-Z_-0-9.;= goes

  // ---- summing up
  flushInterval: 10000,
  percentThreshold: [90],               // below 0: of the greatest values
  histogram: [],                        // { metric: 'part of a key', bins: [10, 100, 'inf'] }; the first that fits
  calculatedTimerMetrics: [],           // fields of timers that are told; empty = all
  deleteIdleStats: false,               // the default of the next four
  deleteCounters: false,                // false: idle series are told as 0
  deleteTimers: false,
  deleteSets: false,
  deleteGauges: false,                  // false: the last value is told for ever
  gaugesMaxTTL: 1,                      // flushes that an idle gauge survives with deleteGauges
  prefixStats: 'statsd',                // of what statsd tells of itself
  // keyFlush: { interval: 60000, percent: 10, log: '/var/log/statsd-keys.log' },

  // ---- sending
  backends: ['./backends/graphite'],    // and './backends/console', './backends/repeater'
  // graphiteHost: 'graphite.example.com',
  graphitePort: 2003,
  graphitePicklePort: 2004,
  graphiteProtocol: 'text',             // or 'pickle'
  flush_counts: true,                   // counts of counters beside their rates
  graphite: {
    legacyNamespace: true,              // true: only the suffix counts
    globalPrefix: 'stats',
    prefixCounter: 'counters',
    prefixTimer: 'timers',
    prefixGauge: 'gauges',
    prefixSet: 'sets',
    // globalSuffix: 'host1',           // follows a dot, an empty one too
  },
  repeater: [],                         // { host: '10.0.0.1', port: 8125 }: gets every packet as it came
  repeaterProtocol: 'udp4',             // 'udp6', 'tcp'
  console: { prettyprint: true },

  // ---- the rest
  mgmt_address: '0.0.0.0',
  mgmt_port: 8126,
  healthStatus: 'up',
  title: 'statsd',
  automaticConfigReload: true,
  debug: false,
  dumpMessages: false,
  log: { backend: 'stdout', application: 'statsd', level: 'LOG_INFO' },
}
