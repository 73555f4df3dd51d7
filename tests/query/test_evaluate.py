"""How targets are evaluated: what is fetched, what is bound, what is refused."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.evaluate import EvaluationError
from tests.query.functions.calls import START, Columns, clock_values, computed, evaluated, listed

END = START + 600
TWO = {"a.x": [1, 2, None], "a.y": [10, None, 30]}


class FetchTests(SynchronousTestCase):
    def test_each_pattern_is_fetched_once(self):
        sources = Columns(**{"a.*": TWO, "b": clock_values})
        targets = ["sumSeries(a.*)", "group(a.*,b,scale(a.*,2))", 'timeShift(b,"1h")', 'timeShift(scale(b,2),"1h")']
        self.assertEqual(len(evaluated(targets, sources)), 1 + 5 + 2)
        self.assertEqual(
            sorted(sources.asked),
            sorted([("a.*", START, END), ("b", START, END), ("b", START - 3600, END - 3600)]),
        )

    def test_ranges_that_are_known_before(self):
        for target, ranges in {
            'movingAverage(b,"10min")': [(START - 600, END)],
            'timeStack(b,"1d",1,3)': [(START - 86400, END - 86400), (START - 2 * 86400, END - 2 * 86400)],
            'holtWintersForecast(b,"1d")': [(START - 86400, END)],
            'holtWintersAberration(b,3,"2d")': [(START - 2 * 86400, END)],
            "holtWintersConfidenceBands(b)": [(START - 7 * 86400, END)],
            'linearRegression(b,"-2h","-1h")': [(END - 7200, END - 3600)],
            'smartSummarize(b,"1h","sum","days")': [(START // 86400 * 86400, END)],
            'hitcount(b,"1d",true)': [(START // 86400 * 86400, END)],
            'movingMax(timeShift(b,"1h"),"1min")': [
                (START - 3600, END - 3600), (START - 60, END), (START - 60 - 3600, END - 3600),
            ],
        }.items():  # fmt: skip
            batches = []
            sources = Columns(b=clock_values)
            fetch = sources.fetch

            async def counted(patterns, window, fetch=fetch, batches=batches):
                batches.append(window)
                return await fetch(patterns, window)

            sources.fetch = counted
            evaluated(target, sources)
            self.assertEqual(sorted(batches), sorted([(START, END), *ranges]), target)

    def test_texts_are_not_fetched(self):
        sources = Columns(b=clock_values)
        (found,) = evaluated("alias(b,name.x)", sources)
        self.assertEqual((found.name, sources.asked), ("name.x", [("b", START, END)]))
        self.assertEqual(evaluated("randomWalk(x)", sources)[0].name, "x")

    def test_series_by_tag_goes_to_the_sources(self):
        call = "seriesByTag('name=a', \"b=c\")"
        sources = Columns(**{call: {"a;b=c": [1]}})
        (found,) = evaluated(f"sumSeries({call})", sources)
        self.assertEqual(found.name, f"sumSeries({call})")
        self.assertEqual(found.tags, {"name": "a", "b": "c", "aggregatedBy": "sum"})

    def test_queries_named_by_functions(self):
        found = computed(
            'aliasQuery(a.*,"a","b","last %d")', **{"a.*": {"a.x": [1]}, "b.x": {"b.x": [5, 7, None]}}
        )
        self.assertEqual(found, {"last 7": [1]})
        found = computed(
            'applyByNode(a.*,1,"scale(%.z,10)","%!")', **{"a.*": TWO, "a.x.z": {"a.x.z": [1]}, "a.y.z": {"a.y.z": [2]}}
        )
        self.assertEqual(found, {"a.x!": [10], "a.y!": [20]})
        found = computed('useSeriesAbove(a.*,5,"a","b")', **{"a.*": TWO, "b.y": {"b.y": [3]}})
        self.assertEqual(found, {"b.y": [3]})


class BindingTests(SynchronousTestCase):
    def test_templates(self):
        columns = {"a.x": {"a.x": [1]}, "a.y": {"a.y": [2]}}
        self.assertEqual(computed('template(scale(a.$n,$f),n="x",f=3)', **columns), {"scale(a.x,3)": [3]})
        self.assertEqual(computed('template(alias(a.$1,$2),"y","z")', **columns), {"z": [2]})
        (found,) = evaluated('template(a.$n,n="x")', Columns(**columns), bindings={"n": "y"})
        self.assertEqual(listed(found), [2])
        self.assertEqual(computed("template(a.$n)|scale(2)", **columns), {})

    def test_keywords(self):
        columns = {"a": {"a": [None, None, 3, None]}, "b": {"b": [1, None, 1, 1]}}
        self.assertEqual(computed("transformNull(a,referenceSeries=b)", **columns),
                         {"transformNull(a,0,referenceSeries)": [0, None, 3, 0]})  # fmt: skip
        self.assertEqual(computed("interpolate(a,limit=1)", **columns), {"interpolate(a)": [None, None, 3, None]})
        self.assertEqual(computed("timeShift(a,'1h',alignDST=true)", **columns)['timeShift(a, "-1h")'][2], 3)

    def test_conversions(self):
        columns = {"a": {"a": [1.5]}}
        for target, name in {
            'scale(a,"2")': "scale(a,2)",
            "scale(a,true)": "scale(a,1)",
            'delay(a,"1")': "delay(a,1)",
            "round(a,None)": "round(a)",
            "alias(a,5)": "5",
            'sortByName(a,"TRUE",0)': "a",
            "movingAverage(a,2.5)": "movingAverage(a,2.5)",
        }.items():
            self.assertEqual(list(computed(target, **columns)), [name], target)

    def test_refusals(self):
        for target, message in {
            "nosuch(a)": "Received request for unknown function: nosuch",
            "scale(a)": 'Missing required parameter "factor" for function "scale" at column 1',
            "group(a,scale(a,1,2))": 'Too many parameters specified for function "scale" at column 9',
            "scale(a,1,b=2)": "Unexpected key word arguments: b",
            "alias(a,'x',k=1)": "Unexpected key word arguments: k",
            "scale(a,factor=1,zoom=2)": "Unexpected key word arguments: zoom",
            "scale(a,1,factor=2)": 'Parameter "factor" given twice to function "scale"',
            "scale(a,'x')": "Invalid \"float\" value specified for function \"scale\" parameter \"factor\": 'x'",
            "limit(a,2.5)": 'Invalid "integer" value specified for function "limit" parameter "n": 2.5',
            "sumSeries(5)": 'parameter "seriesLists": 5',
            "scale(5,1)": 'parameter "seriesList": 5',
            "scale(a,a)": 'parameter "factor": a list of series',
            "sumSeries(mapSeries(a,0))": "a list of series",
            "mapSeries(a,0)": "The target does not stand for series",
            "template(scale(a,x),x=a.b)": "invalid template() syntax, only string/numeric arguments are allowed",
            "keepLastValue(a,None)": 'Invalid "intOrInf" value',
        }.items():
            with self.assertRaises(EvaluationError) as caught:
                evaluated(target, Columns(a={"a": [1, 2]}))
            self.assertIn(message, str(caught.exception), target)
            self.assertEqual(caught.exception.targets, [target])

    def test_budgets(self):
        for target, limits in {
            'timeFunction("t",1)': {"points": 500},
            "group(" + "scale(a,1)," * 50 + "a)": {"calls": 20},
            "sumSeries(a)": {"points": 1},
            'timeStack(a,"1s",0,5000)': {},
            "scale(" * 30 + "a" + ",1)" * 30: {"calls": 20},
            "movingAverage(" * 30 + "a" + ",2)" * 30: {},
            "alias(constantLine(1),'" + "a" * 60 + "!')|grep('^(?:(a|aa)+)$')": {},
        }.items():
            with self.assertRaises(EvaluationError, msg=target):
                evaluated(target, Columns(a={"a": [1, 2]}), **limits)
