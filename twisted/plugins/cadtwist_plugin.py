"""The rows that `twistd --help` lists.  Dotted names only: a service's modules are imported when it is started."""

from twisted.application.service import ServiceMaker

cache = ServiceMaker(
    "cadtwist cache",
    "cadtwist.services.carbontap",
    "Store Graphite metrics in whisper files; reads carbon.conf [cache].",
    "cache",
)

carbon_cache = ServiceMaker(
    "cadtwist carbon-cache",
    "cadtwist.services.carbontap",
    "The same as cache, under carbon's name.",
    "carbon-cache",
)

graphite = ServiceMaker(
    "cadtwist graphite",
    "cadtwist.services.graphitetap",
    "Answer Graphite's HTTP API over existing files, without writing; reads carbon.conf or TOML.",
    "graphite",
)

cadtwist = ServiceMaker(
    "cadtwist",
    "cadtwist.services.nativetap",
    "Any mixture of cadtwist's services, from one TOML file.",
    "cadtwist",
)

relay = ServiceMaker(
    "cadtwist relay",
    "cadtwist.services.relaytap",
    "Send Graphite metrics on to others; reads carbon.conf [relay].",
    "relay",
)

carbon_relay = ServiceMaker(
    "cadtwist carbon-relay",
    "cadtwist.services.relaytap",
    "The same as relay, under carbon's name.",
    "carbon-relay",
)

statsrelay = ServiceMaker(
    "cadtwist statsrelay",
    "cadtwist.services.statsrelaytap",
    "Spread statsd lines over virtual shards; reads statsrelay's JSON.",
    "statsrelay",
)

statsd_proxy = ServiceMaker(
    "cadtwist statsd-proxy",
    "cadtwist.services.statsdproxytap",
    "Spread statsd lines over a ring of nodes; reads proxyConfig.js.",
    "statsd-proxy",
)

cadent = ServiceMaker(
    "cadtwist cadent",
    "cadtwist.services.cadenttap",
    "Relay statsd, Graphite or other lines; reads Cadent's TOML files.",
    "cadent",
)

statsd = ServiceMaker(
    "cadtwist statsd",
    "cadtwist.services.statsdtap",
    "Sum up counters, timers, gauges and sets; reads statsd's config.js or statsite's ini.",
    "statsd",
)

aggregator = ServiceMaker(
    "cadtwist aggregator",
    "cadtwist.services.aggregatortap",
    "Aggregate Graphite metrics and send them on; reads carbon.conf [aggregator] and aggregation rules.",
    "aggregator",
)

carbon_aggregator = ServiceMaker(
    "cadtwist carbon-aggregator",
    "cadtwist.services.aggregatortap",
    "The same as aggregator, under carbon's name.",
    "carbon-aggregator",
)

carbon_aggregator_cache = ServiceMaker(
    "cadtwist carbon-aggregator-cache",
    "cadtwist.services.aggregatorcachetap",
    "An aggregator within a cache; reads carbon.conf [aggregator-cache].",
    "carbon-aggregator-cache",
)

istat = ServiceMaker(
    "cadtwist istat",
    "cadtwist.services.istattap",
    "Keep counters in StatFiles and forward them; reads istatd.cfg.",
    "istat",
)
