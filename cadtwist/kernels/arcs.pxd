from cadtwist.kernels.arccore cimport ar_arcs
from cadtwist.kernels.table cimport MetricTable


cdef class Arcs:
    cdef ar_arcs* core
    cdef readonly MetricTable table
