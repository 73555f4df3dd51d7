"""What functions make of a few values, worked out by hand or by the recorded reference; a row for each function.

A new function needs a row here.
"""

from __future__ import annotations

import math

from twisted.trial.unittest import SynchronousTestCase

from tests.query.functions.calls import FUNCTIONS, START, Columns, clock_values, evaluated, listed

COLUMNS = {
    "a": {"a.x": [1, 2, None, 4]},
    "b": {"b.y": [10, 20, 30, None]},
    "ab.*": {"ab.x.cpu": [1, 2, None, 4], "ab.y.cpu": [4, 3, 2, 1], "ab.y.mem": [5, 5, 5, 5]},
    "up": {"up": [1, 3, 6, 6, 2, 5]},
    "gap": {"gap": [None, 1, None, None, 4, None]},
    "neg": {"neg": [-2, 0, 2.5, -4]},
    "empty": {"empty": [None, None]},
    "clock": clock_values,
    "big": {"big": [math.inf, -math.inf, 2, 4]},
    "most": {"most": [math.inf, math.inf]},
}
VALUES = {
    'absolute(neg)': [('absolute(neg)', [2, 0, 2.5, 4])],
    'add(a,1.9)': [('add(a.x,1)', [2.9, 3.9, None, 5.9])],
    'offset(a,-2)': [('offset(a.x,-2)', [-1, 0, None, 2])],
    'offsetToZero(neg)': [('offsetToZero(neg)', [2, 4, 6.5, 0])],
    'scale(a,2.5)': [('scale(a.x,2.5)', [2.5, 5, None, 10])],
    'scaleToSeconds(a,30)': [('scaleToSeconds(a.x,30)', [0.5, 1, None, 2])],
    'invert(neg)': [('invert(neg)', [-0.5, None, 0.4, -0.25])],
    'pow(neg,2)': [('pow(neg,2)', [4, 0, 6.25, 16])],
    'pow(neg,0.5)': [('pow(neg,0.5)', [None, 0, 1.581139, None])],
    'squareRoot(neg)': [('squareRoot(neg)', [None, 0, 1.581139, None])],
    'exp(empty)': [('exp(empty)', [None, None])],
    'log(neg,2)': [('log(neg, 2)', [None, None, 1.321928, None])],
    'logit(invert(b))': [('logit(invert(b.y))', [-2.197225, -2.944439, -3.367296, None])],
    'sigmoid(empty)': [('sigmoid(empty)', [None, None])],
    'round(neg)': [('round(neg)', [-2, 0, 2, -4])],
    'round(scale(a,0.125),2)': [('round(scale(a.x,0.125),2)', [0.12, 0.25, None, 0.5])],
    'minMax(neg)': [('minMax(neg)', [0.307692, 0.615385, 1, 0])],
    'isNonNull(a)': [('isNonNull(a.x)', [1, 1, 0, 1])],
    'keepLastValue(gap)': [('keepLastValue(gap)', [None, 1, 1, 1, 4, 4])],
    'keepLastValue(gap,1)': [('keepLastValue(gap)', [None, 1, None, None, 4, 4])],
    'keepLastValue(gap,2.5)': [('keepLastValue(gap)', [None, 1, 1, 1, 4, 4])],
    'interpolate(gap)': [('interpolate(gap)', [None, 1, 2, 3, 4, None])],
    'interpolate(gap,1)': [('interpolate(gap)', [None, 1, None, None, 4, None])],
    'transformNull(a)': [('transformNull(a.x,0)', [1, 2, 0, 4])],
    'transformNull(a,-1,b)': [('transformNull(a.x,-1,referenceSeries)', [1, 2, -1, 4])],
    'derivative(up)': [('derivative(up)', [None, 2, 3, 0, -4, 3])],
    'nonNegativeDerivative(up)': [('nonNegativeDerivative(up)', [None, 2, 3, 0, None, 3])],
    'nonNegativeDerivative(up,9)': [('nonNegativeDerivative(up)', [None, 2, 3, 0, 6, 3])],
    'nonNegativeDerivative(up,minValue=1)': [('nonNegativeDerivative(up)', [None, 2, 3, 0, 1, 3])],
    'perSecond(up)': [('perSecond(up)', [None, 0.033333, 0.05, 0, None, 0.05])],
    'integral(a)': [('integral(a.x)', [1, 3, None, 7])],
    'integralByInterval(up,"2min")': [("integralByInterval(up,'2min')", [1, 3, 9, 6, 8, 5])],
    'delay(a,1)': [('delay(a.x,1)', [None, 1, 2, None])],
    'delay(a,-1)': [('delay(a.x,-1)', [2, None, 4, None])],
    'delay(a,0)': [('delay(a.x,0)', [])],
    'changed(up)': [('changed(up)', [0, 1, 1, 0, 1, 1])],
    'compressPeriodicGaps(a)': [('compressPeriodicGaps(a.x)', [1, 2, None, 4])],
    'pow(big,2)': [('pow(big,2)', [math.inf, math.inf, 4, 16])],
    'pow(big,2000)': [('pow(big,2000)', [math.inf, math.inf, None, None])],
    'pow(big,0.5)': [('pow(big,0.5)', [math.inf, math.inf, 1.414214, 2])],
    'transformNull(a,-1,delay(b,0))': [('transformNull(a.x,-1,referenceSeries)', [1, 2, -1, 4])],
    'squareRoot(big)': [('squareRoot(big)', [math.inf, math.inf, 1.414214, 2])],
    'exp(big)': [('exp(big)', [math.inf, 0, 7.389056, 54.59815])],
    'minMax(most)': [('minMax(most)', [None, None])],
    'powSeries(big,up)': [('powSeries(big,up)', [math.inf, -math.inf, 64, 4096])],
    'stddevSeries(big,neg)': [('stddevSeries(big,neg)', [None, None, 0.25, 4])],
    f'add(verticalLine("{START + 60}"),1)': [('add(None,1)', [2, 2])],
    'aliasByNode(log(constantLine(100)),0)': [('log(100', [2, 2, 2])],
    'sumSeries(a,b)': [('sumSeries(a,b)', [11, 22, 30, 4])],
    'averageSeries(ab.*)': [('averageSeries(ab.*)', [3.333333, 3.333333, 3.5, 3.333333])],
    'maxSeries(ab.*)': [('maxSeries(ab.*)', [5, 5, 5, 5])],
    'minSeries(ab.*)': [('minSeries(ab.*)', [1, 2, 2, 1])],
    'diffSeries(a,b)': [('diffSeries(a,b)', [-9, -18, 30, 4])],
    'rangeOfSeries(ab.*)': [('rangeOfSeries(ab.*)', [4, 3, 3, 4])],
    'stddevSeries(a,b)': [('stddevSeries(a,b)', [4.5, 9, 0, 0])],
    'multiplySeries(a,b)': [('multiplySeries(a,b)', [10, 40, None, None])],
    'multiplySeries(a)': [('a.x', [1, 2, None, 4])],
    'countSeries(ab.*)': [('countSeries(ab.*)', [3, 3, 3, 3])],
    'countSeries()': [('0', [0, 0, 0])],
    'powSeries(a,b)': [('powSeries(a.x,b.y)', [1, 1048576, None, None])],
    'percentileOfSeries(ab.*,50)': [('percentileOfSeries(ab.*,50)', [4, 3, 5, 4])],
    'percentileOfSeries(ab.*,75,true)': [('percentileOfSeries(ab.*,75)', [5, 5, 5, 5])],
    'aggregate(ab.*,"median")': [('medianSeries(ab.*)', [4, 3, 3.5, 4])],
    'aggregate(ab.*,"last",1)': [('lastSeries(ab.*)', [5, 5, None, 5])],
    'aggregateSeriesLists(a,b,"max")': [('maxSeries(a.x,b.y)', [10, 20, 30, 4])],
    'sumSeriesLists(a,b)': [('sumSeries(a.x,b.y)', [11, 22, 30, 4])],
    'diffSeriesLists(a,b)': [('diffSeries(a.x,b.y)', [-9, -18, 30, 4])],
    'multiplySeriesLists(a,b)': [('multiplySeries(a.x,b.y)', [10, 40, None, None])],
    'divideSeries(a,b)': [('divideSeries(a.x,b.y)', [0.1, 0.1, None, None])],
    'divideSeries(a,nothing)': [('divideSeries(a.x,MISSING)', [None, None, None, None])],
    'divideSeriesLists(a,b)': [('divideSeries(a.x,b.y)', [0.1, 0.1, None, None])],
    'weightedAverage(ab.*,ab.*,1,2)': [('weightedAverage(ab.*, ab.*, 1,2)', [4.2, 3.8, 4.142857, 4.2])],
    'asPercent(ab.*)': [
        ('asPercent(ab.x.cpu,sumSeries(ab.*))', [10, 20, None, 40]),
        ('asPercent(ab.y.cpu,sumSeries(ab.*))', [40, 30, 28.571429, 10]),
        ('asPercent(ab.y.mem,sumSeries(ab.*))', [50, 50, 71.428571, 50]),
    ],
    'asPercent(nothing,ab.*)': [],
    'asPercent(nothing,a)': [],
    'asPercent(nothing,"x")': [],
    'asPercent(nothing,ab.*,0)': [],
    'asPercent(a,8)': [('asPercent(a.x,8)', [12.5, 25, None, 50])],
    'asPercent(ab.*,a)': [
        ('asPercent(ab.x.cpu,a.x)', [100, 100, None, 100]),
        ('asPercent(ab.y.cpu,a.x)', [400, 150, None, 25]),
        ('asPercent(ab.y.mem,a.x)', [500, 250, None, 125]),
    ],
    'asPercent(ab.*,None,1)': [
        ('asPercent(ab.x.cpu,ab.x.cpu)', [100, 100, None, 100]),
        ('asPercent(ab.y.cpu,sumSeries(ab.*))', [44.444444, 37.5, 28.571429, 16.666667]),
        ('asPercent(ab.y.mem,sumSeries(ab.*))', [55.555556, 62.5, 71.428571, 83.333333]),
    ],
    'group(a,b)': [('a.x', [1, 2, None, 4]), ('b.y', [10, 20, 30, None])],
    'groupByNode(ab.*,1,"sum")': [('x', [1, 2, None, 4]), ('y', [9, 8, 7, 6])],
    'groupByNode(ab.*,1,"maxSeries")': [('x', [1, 2, None, 4]), ('y', [5, 5, 5, 5])],
    'groupByNodes(ab.*,"min",0,2)': [('ab.cpu', [1, 2, 2, 1]), ('ab.mem', [5, 5, 5, 5])],
    'groupByTags(ab.*,"sum","name")': [
        ('ab.x.cpu', [1, 2, None, 4]),
        ('ab.y.cpu', [4, 3, 2, 1]),
        ('ab.y.mem', [5, 5, 5, 5]),
    ],
    'aggregateWithWildcards(ab.*,"max",1)': [('ab.cpu', [4, 3, 2, 4]), ('ab.mem', [5, 5, 5, 5])],
    'averageSeriesWithWildcards(ab.*,1)': [('ab.cpu', [2.5, 2.5, 2, 2.5]), ('ab.mem', [5, 5, 5, 5])],
    'sumSeriesWithWildcards(ab.*,1,2)': [('ab', [10, 10, 7, 10])],
    'sumSeriesWithWildcards(ab.*,"1",2.0,"x",None)': [('ab', [10, 10, 7, 10])],
    'multiplySeriesWithWildcards(ab.*,2)': [('ab.x', [1, 2, None, 4]), ('ab.y', [20, 15, 10, 5])],
    'reduceSeries(mapSeries(ab.*,0),"sumSeries",2,"cpu")': [
        ('ab.x.reduce.sumSeries', [1, 2, None, 4]),
        ('ab.y.reduce.sumSeries', [4, 3, 2, 1]),
    ],
    'averageAbove(ab.*,3)': [('ab.y.mem', [5, 5, 5, 5])],
    'averageBelow(ab.*,3)': [('ab.x.cpu', [1, 2, None, 4]), ('ab.y.cpu', [4, 3, 2, 1])],
    'currentAbove(ab.*,3)': [('ab.x.cpu', [1, 2, None, 4]), ('ab.y.mem', [5, 5, 5, 5])],
    'currentBelow(ab.*,3)': [('ab.y.cpu', [4, 3, 2, 1])],
    'maximumAbove(ab.*,4)': [('ab.y.mem', [5, 5, 5, 5])],
    'maximumBelow(ab.*,4)': [('ab.x.cpu', [1, 2, None, 4]), ('ab.y.cpu', [4, 3, 2, 1])],
    'minimumAbove(ab.*,1)': [('ab.y.mem', [5, 5, 5, 5])],
    'minimumBelow(ab.*,1)': [('ab.x.cpu', [1, 2, None, 4]), ('ab.y.cpu', [4, 3, 2, 1])],
    'filterSeries(ab.*,"sum",">=",10)': [('ab.y.cpu', [4, 3, 2, 1]), ('ab.y.mem', [5, 5, 5, 5])],
    'averageOutsidePercentile(ab.*,60)': [
        ('ab.x.cpu', [1, 2, None, 4]),
        ('ab.y.cpu', [4, 3, 2, 1]),
        ('ab.y.mem', [5, 5, 5, 5]),
    ],
    'removeBetweenPercentile(group(b|keepLastValue(),up|limit(0)),50)': [('keepLastValue(b.y)', [10, 20, 30, 30])],
    'exclude(ab.*,"mem")': [('ab.x.cpu', [1, 2, None, 4]), ('ab.y.cpu', [4, 3, 2, 1])],
    'grep(ab.*,"y\\.")': [('ab.y.cpu', [4, 3, 2, 1]), ('ab.y.mem', [5, 5, 5, 5])],
    'highest(ab.*)': [('ab.y.mem', [5, 5, 5, 5])],
    'highest(ab.*,2.9,"max")': [('ab.y.mem', [5, 5, 5, 5]), ('ab.x.cpu', [1, 2, None, 4])],
    'lowest(ab.*,1,"sum")': [('ab.x.cpu', [1, 2, None, 4])],
    'highestAverage(ab.*,1)': [('ab.y.mem', [5, 5, 5, 5])],
    'highestCurrent(ab.*,1)': [('ab.y.mem', [5, 5, 5, 5])],
    'highestMax(ab.*,1)': [('ab.y.mem', [5, 5, 5, 5])],
    'lowestAverage(ab.*,1)': [('ab.x.cpu', [1, 2, None, 4])],
    'lowestCurrent(ab.*,1)': [('ab.y.cpu', [4, 3, 2, 1])],
    'limit(ab.*,2)': [('ab.x.cpu', [1, 2, None, 4]), ('ab.y.cpu', [4, 3, 2, 1])],
    'mostDeviant(ab.*,2)': [('ab.x.cpu', [1, 2, None, 4]), ('ab.y.cpu', [4, 3, 2, 1])],
    'removeEmptySeries(group(a,empty))': [('a.x', [1, 2, None, 4])],
    'removeEmptySeries(group(a,b,up),0.8)': [('up', [1, 3, 6, 6, 2, 5])],
    'unique(a,b,a)': [('a.x', [1, 2, None, 4]), ('b.y', [10, 20, 30, None])],
    'removeAbovePercentile(up,50)': [('removeAbovePercentile(up, 50)', [1, 3, None, None, 2, 5])],
    'removeBelowPercentile(up,50)': [('removeBelowPercentile(up, 50)', [None, None, 6, 6, None, 5])],
    'removeAboveValue(up,3)': [('removeAboveValue(up, 3)', [1, 3, None, None, 2, None])],
    'removeBelowValue(up,3)': [('removeBelowValue(up, 3)', [None, 3, 6, 6, None, 5])],
    'sortBy(ab.*,"sum",true)': [
        ('ab.y.mem', [5, 5, 5, 5]),
        ('ab.y.cpu', [4, 3, 2, 1]),
        ('ab.x.cpu', [1, 2, None, 4]),
    ],
    'sortByMaxima(ab.*)': [('ab.y.mem', [5, 5, 5, 5]), ('ab.x.cpu', [1, 2, None, 4]), ('ab.y.cpu', [4, 3, 2, 1])],
    'sortByMinima(group(neg,ab.*,empty))': [
        ('neg', [-2, 0, 2.5, -4]),
        ('ab.x.cpu', [1, 2, None, 4]),
        ('ab.y.cpu', [4, 3, 2, 1]),
        ('ab.y.mem', [5, 5, 5, 5]),
    ],
    'sortByName(ab.*,false,true)': [
        ('ab.y.mem', [5, 5, 5, 5]),
        ('ab.y.cpu', [4, 3, 2, 1]),
        ('ab.x.cpu', [1, 2, None, 4]),
    ],
    'sortByTotal(ab.*)': [('ab.y.mem', [5, 5, 5, 5]), ('ab.y.cpu', [4, 3, 2, 1]), ('ab.x.cpu', [1, 2, None, 4])],
    'alias(a,"n")': [('n', [1, 2, None, 4])],
    'aliasByMetric(ab.*)': [('cpu', [1, 2, None, 4]), ('cpu', [4, 3, 2, 1]), ('mem', [5, 5, 5, 5])],
    'aliasByNode(scale(ab.*,2),1,-1)': [
        ('x.cpu', [2, 4, None, 8]),
        ('y.cpu', [8, 6, 4, 2]),
        ('y.mem', [10, 10, 10, 10]),
    ],
    'aliasByNode(a,0.5,1)': [('.x', [1, 2, None, 4])],
    'aliasByTags(ab.*,"name")': [
        ('ab.x.cpu', [1, 2, None, 4]),
        ('ab.y.cpu', [4, 3, 2, 1]),
        ('ab.y.mem', [5, 5, 5, 5]),
    ],
    'aliasSub(a,"(\\w)\\.(\\w)","\\2-\\1")': [('x-a', [1, 2, None, 4])],
    'substr(ab.*,1.5,2.5)': [('x', [1, 2, None, 4]), ('y', [4, 3, 2, 1]), ('y', [5, 5, 5, 5])],
    'legendValue(a,"max","avg")': [('a.x (max: 4.0) (avg: 2.3333333333333335)', [1, 2, None, 4])],
    'legendValue(scale(b,1000),"max","si")': [('scale(b.y,1000)     max  30.00k    ', [10000, 20000, 30000, None])],
    'upper(a)': [('A.X', [1, 2, None, 4])],
    'lower(alias(a,"ABC"),0,-1)': [('aBc', [1, 2, None, 4])],
    'substr(ab.*,1,2)': [('x', [1, 2, None, 4]), ('y', [4, 3, 2, 1]), ('y', [5, 5, 5, 5])],
    'cactiStyle(a)': [('a.x Current:4.00    Max:4.00    Min:1.00    ', [1, 2, None, 4])],
    'alpha(a,0.5)': [('a.x', [1, 2, None, 4])],
    'color(a,"red")': [('a.x', [1, 2, None, 4])],
    'lineWidth(a,2)': [('a.x', [1, 2, None, 4])],
    'dashed(a)': [('dashed(a.x, 5)', [1, 2, None, 4])],
    'dashed(a,true)': [('dashed(a.x, 1)', [1, 2, None, 4])],
    'drawAsInfinite(a)': [('drawAsInfinite(a.x)', [1, 2, None, 4])],
    'secondYAxis(a)': [('secondYAxis(a.x)', [1, 2, None, 4])],
    'stacked(group(a,b))': [('stacked(a.x)', [1, 2, None, 4]), ('stacked(b.y)', [11, 22, 30, None])],
    'areaBetween(group(a,b))': [('areaBetween(b)', [1, 2, None, 4]), ('areaBetween(b)', [10, 20, 30, None])],
    'threshold(3.5,"t")': [('t', [3.5, 3.5, 3.5])],
    'aggregateLine(a,"sum")': [('aggregateLine(a.x, 7)', [7, 7, 7])],
    'aggregateLine(a,"max",true)': [('aggregateLine(a.x, 4)', [4, 4, 4, 4])],
    'aggregateLine(a,"max",2)': [('aggregateLine(a.x, 4)', [4, 4, 4, 4])],
    'aggregateLine(a,"max",None)': [('aggregateLine(a.x, 4)', [4, 4, 4])],
    'nPercentile(up,50)': [('nPercentile(up, 50)', [5, 5, 5, 5, 5, 5])],
    'stdev(up,3)': [('stdev(up,3)', [0, 1, 2.054805, 1.414214, 1.885618, 1.699673])],
    'constantLine(2)': [('2.0', [2, 2, 2])],
    'consolidateBy(a,"max")': [('consolidateBy(a.x,"max")', [1, 2, None, 4])],
    'cumulative(a)': [('consolidateBy(a.x,"sum")', [1, 2, None, 4])],
    'setXFilesFactor(a,0.5)': [('a.x', [1, 2, None, 4])],
    'fallbackSeries(nothing,a)': [('a.x', [1, 2, None, 4])],
    'fallbackSeries(a,b)': [('a.x', [1, 2, None, 4])],
    'events()': [('events("")', [None] * 10)],
    'events("x","y")': [('events("x", "y")', [None, 2, None, None, None, None, None, None, None, None])],
}  # fmt: skip
ELSEWHERE = {
    *("movingAverage", "movingMax", "movingMedian", "movingMin", "movingSum", "movingWindow"),
    *("exponentialMovingAverage", "summarize", "smartSummarize", "hitcount", "seriesByTag"),
    *("aliasQuery", "applyByNode", "useSeriesAbove", "timeStack", "timeSlice", "holtWintersForecast"),
    *("holtWintersConfidenceBands", "holtWintersConfidenceArea", "holtWintersAberration"),
}
"""They have tests of their own, or are replayed in tests.web.test_golden."""


class ValueTests(SynchronousTestCase):
    maxDiff = None

    def found(self, target, **fields):
        return [
            (one.name, [None if value is None else round(value, 6) for value in listed(one)])
            for one in evaluated(target, Columns(**COLUMNS), **fields)
        ]

    def test_values(self):
        for target, expected in VALUES.items():
            found = [(name, values[: len(expected[0][1])]) for name, values in self.found(target)]
            self.assertEqual(found, expected, target)

    def test_times_as_values(self):
        minutes = [START + 60 * number for number in range(10)]
        self.assertEqual(self.found('identity("i")'), [("i", minutes)])
        self.assertEqual(self.found('timeFunction("t",300)'), [("t", minutes[::5])])
        ((_, line),) = self.found("linearRegression(clock)")
        self.assertEqual(line, [START // 60 + 1 + number for number in range(10)])
        ((name, walk),) = self.found('randomWalk("w")')
        self.assertEqual((name, len(walk), walk[0]), ("w", 10, 0))
        self.assertEqual(self.found('randomWalk("w")'), [(name, walk)])
        self.assertEqual(self.found(f'verticalLine("{START + 60}","v")'), [("v", [1, 1])])
        ((_, wave),) = self.found('sinFunction("s",2)')
        self.assertLessEqual(max(map(abs, wave)), 2)

    def test_lines_of_their_own_are_averaged(self):
        """Where fewer points are wanted, however the series was to be consolidated that they are made of."""
        for function, more in (
            ("linearRegression", ""), ("holtWintersForecast", ',"1h","10min"'),
            ("holtWintersConfidenceBands", ',3,"1h","10min"'), ("holtWintersAberration", ',3,"1h","10min"'),
        ):  # fmt: skip
            for one in evaluated(f"{function}(consolidateBy(clock,'max'){more})", Columns(**COLUMNS)):
                self.assertEqual(one.consolidation, "average", function)
        (kept,) = evaluated("scale(consolidateBy(clock,'max'),2)", Columns(**COLUMNS))
        self.assertEqual(kept.consolidation, "max")

    def test_percentages_without_a_partner(self):
        """They are as long as the series is at the step of all."""
        self.assertEqual(self.found('asPercent(group(timeFunction("t",300),a),ab.*,0)'), [
            ('asPercent(t,MISSING)', [None, None]), ('asPercent(a.x,MISSING)', [None]),
            ('asPercent(MISSING,sumSeries(ab.*))', [None, None, None, None]),
        ])  # fmt: skip

    def test_labels(self):
        """A line without a label has one as soon as another function names it."""
        for target, label in (
            ('verticalLine("%d")', None), ('setXFilesFactor(verticalLine("%d"),1)', None),
            ('add(verticalLine("%d"),1)', "add(None,1)"),
        ):  # fmt: skip
            (one,) = evaluated(target % (START + 60), Columns(**COLUMNS))
            self.assertEqual(one.label, label)

    def test_whole_numbers(self):
        """They stay whole where nothing parts them."""
        for target, whole in (
            ("changed(up)", True), ("absolute(changed(up))", True), ("round(changed(up),2)", True),
            ("offsetToZero(changed(up))", True), ("keepLastValue(changed(up))", True), ("delay(changed(up),1)", True),
            ("derivative(changed(up))", True), ("nonNegativeDerivative(changed(up))", True),
            ("nonNegativeDerivative(changed(up),5)", False), ("stacked(changed(up))", True),
            ("stacked(group(up,changed(up)))", False), ("nPercentile(changed(up),50)", True),
            ("percentileOfSeries(changed(up),50)", True), ("percentileOfSeries(changed(up),50,true)", False),
            ("powSeries(changed(up))", True), ("powSeries(changed(up),changed(up))", False),
            ("transformNull(changed(up))", True), ("transformNull(changed(up),2)", False),
            ("transformNull(empty)", True), ("transformNull(a)", False), ("scale(changed(up),2)", False),
            ("sumSeries(changed(up),changed(a))", True),
            ('sumSeries(changed(up),timeFunction("t",600))', False),
        ):  # fmt: skip
            found = evaluated(target, Columns(**COLUMNS))[-1]
            self.assertEqual(found.whole, whole, target)
        (one,) = evaluated("offsetToZero(changed(up))", Columns(**COLUMNS))
        self.assertEqual(one.tags["offsetToZero"], "0")

    def test_shifts(self):
        slots = [START // 60 + 1 + number for number in range(10)]
        shifted = [slot - 60 for slot in slots]
        self.assertEqual(self.found('timeShift(clock,"1h")'), [('timeShift(clock, "-1h")', shifted)])
        self.assertEqual(self.found('timeShift(clock,"+1h")'), [('timeShift(clock, "+1h")', [s + 60 for s in slots])])

    def test_every_function_has_a_row(self):
        used = " ".join([*VALUES, *(name for function in ELSEWHERE for name in FUNCTIONS[function].names)])
        told = used + "identity timeFunction linearRegression randomWalkFunction verticalLine sinFunction timeShift"
        self.assertEqual([name for name in FUNCTIONS if not any(each in told for each in FUNCTIONS[name].names)], [])
