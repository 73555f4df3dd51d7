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

cadtwist = ServiceMaker(
    "cadtwist",
    "cadtwist.services.nativetap",
    "Any mixture of cadtwist's services, from one TOML file.",
    "cadtwist",
)
