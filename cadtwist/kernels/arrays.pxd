"""The memory of NumPy arrays that kernels read or fill as C does; who uses it calls `cnp.import_array()`."""

cimport numpy as cnp


cdef inline void *column(object array, int kind, Py_ssize_t width, bint writable, Py_ssize_t *length) except? NULL:
    """Return the memory of a C-contiguous array of that kind; `width` 1 = one dimension, else columns per row."""
    cdef cnp.ndarray a
    if not isinstance(array, cnp.ndarray):
        raise TypeError("a NumPy array is needed")
    a = <cnp.ndarray>array
    if (cnp.PyArray_TYPE(a) != kind or not cnp.PyArray_IS_C_CONTIGUOUS(a) or not cnp.PyArray_ISALIGNED(a)
            or (writable and not cnp.PyArray_ISWRITEABLE(a)) or not cnp.PyArray_ISNOTSWAPPED(a)):
        raise TypeError("a plain array of the right type is needed")
    if cnp.PyArray_NDIM(a) != (1 if width == 1 else 2) or (width != 1 and cnp.PyArray_DIM(a, 1) != width):
        raise ValueError("the array has a wrong shape")
    length[0] = cnp.PyArray_DIM(a, 0)
    return cnp.PyArray_DATA(a)
