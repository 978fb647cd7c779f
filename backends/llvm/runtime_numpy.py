"""What native code knows of numpy's arrays: where their fields lie, and numpy's own C functions.

numpy's C headers promise both to compiled extensions; layout_is_known compares the fields with what Python says about
the same objects. Free-threaded builds have another object header.
"""

from __future__ import annotations

import ctypes
import sys
import sysconfig

import numpy as np

# Byte offsets in PyObject and PyArrayObject_fields.
OBJECT_TYPE = 8
ARRAY_DATA, ARRAY_RANK, ARRAY_SHAPE, ARRAY_DTYPE, ARRAY_FLAGS = 16, 24, 32, 56, 64
C_CONTIGUOUS, ALIGNED, WRITEABLE = 0x0001, 0x0100, 0x0400
# Slots of numpy's table of C functions; they never move within an ABI version.
_API_ABI_VERSION, _API_ARRAY_TYPE, _API_ARRAY_NEW = 0, 2, 93
_API_SET_ALLOCATOR, _API_DEFAULT_ALLOCATOR = 304, 306
_ABI_VERSIONS = (0x01000009, 0x02000000)


def numpy_functions() -> dict[str, int]:
    """Addresses from numpy's table of C functions, by their names in API_FIELDS; empty when it is not known."""
    module = sys.modules.get("numpy._core._multiarray_umath") or sys.modules.get("numpy.core._multiarray_umath")
    capsule = getattr(module, "_ARRAY_API", None)
    if capsule is None:
        return {}
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype = ctypes.c_void_p
    pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
    table = ctypes.cast(pointer(capsule, None), ctypes.POINTER(ctypes.c_void_p))
    version = ctypes.CFUNCTYPE(ctypes.c_uint)(table[_API_ABI_VERSION] or 0)()
    if version not in _ABI_VERSIONS or table[_API_ARRAY_TYPE] != id(np.ndarray):
        return {}
    return {
        "array_type": id(np.ndarray), "array_new": table[_API_ARRAY_NEW] or 0,
        "set_allocator": table[_API_SET_ALLOCATOR] or 0, "default_allocator": table[_API_DEFAULT_ALLOCATOR] or 0,
    }  # fmt: skip


def layout_is_known() -> bool:
    """True when ndarray objects look as the entry expects: fields at the offsets above tell what Python says.

    False on interpreters other than CPython, without the GIL, and with reference counting of another form.
    """
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    if hasattr(sys, "getobjects") or ctypes.sizeof(ctypes.c_void_p) != 8 or sys.byteorder != "little":
        return False  # a build that traces references has a longer object header
    read_only = np.arange(3)
    read_only.flags.writeable = False
    samples = (
        np.zeros((2, 3, 5), np.float32), np.ones((), np.int8), np.zeros((4, 6), np.float64)[:, ::2], read_only,
        np.zeros((0, 7), np.bool_), np.zeros((3, 4), np.uint16).T, np.arange(64, dtype=np.uint8)[1:-7].view(np.float64),
    )  # fmt: skip
    return all(_described(a) for a in samples)


def _described(array: np.ndarray) -> bool:
    at = id(array)
    if ctypes.c_int64.from_address(at + OBJECT_TYPE).value != id(type(array)):
        return False
    rank = ctypes.c_int32.from_address(at + ARRAY_RANK).value
    if rank != array.ndim or ctypes.c_int64.from_address(at + ARRAY_DATA).value != array.ctypes.data:
        return False
    shape = ctypes.c_int64.from_address(at + ARRAY_SHAPE).value
    sizes = tuple(ctypes.c_int64.from_address(shape + 8 * d).value for d in range(rank))
    flags = ctypes.c_int32.from_address(at + ARRAY_FLAGS).value
    wanted = C_CONTIGUOUS * array.flags.c_contiguous | ALIGNED * array.flags.aligned | WRITEABLE * array.flags.writeable
    dtype = ctypes.c_int64.from_address(at + ARRAY_DTYPE).value
    flags_fit = flags & (C_CONTIGUOUS | ALIGNED | WRITEABLE) == wanted
    return sizes == array.shape and flags_fit and dtype == id(array.dtype)
