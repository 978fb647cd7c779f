"""The entry: LLVM text of a function that CPython calls without ctypes.

It reads fields of ndarray objects where runtime_numpy says that they lie; it must not be called unless
layout_is_known().
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from chainrule.backends.llvm.runtime_driver import (
    AS_TUPLE,
    PORT_FIELDS,
    PORT_WORDS,
    RELEASE_GIL,
    api,
    field,
    load,
    section,
)
from chainrule.backends.llvm.runtime_numpy import (
    ALIGNED,
    ARRAY_DATA,
    ARRAY_DTYPE,
    ARRAY_FLAGS,
    ARRAY_RANK,
    ARRAY_SHAPE,
    C_CONTIGUOUS,
    OBJECT_TYPE,
    WRITEABLE,
)


def _port(result: str, name: str, kind: str = "i64", port: str = "port") -> str:
    """Text: %result = a word of %port."""
    return load(result, kind, port, 8 * PORT_FIELDS.index(name))


def _port_at(index: str, port: str = "port") -> str:
    """Text: %port = where the port of a number lies."""
    return f"""  %{port}.of = mul i64 %{index}, {8 * PORT_WORDS}
  %{port} = getelementptr i8, ptr %ports, i64 %{port}.of"""


# ptr (self, args, nargs), METH_FASTCALL. self: the frame as a one-dimensional ndarray. args: the inputs, and optionally
# an array for every output. Returns the output (a tuple where the frame says so), NotImplemented when nothing has been
# done because an argument is not what the frame expects or because the frame is busy, or NULL with StepFailed(status)
# or MemoryError set.
_ENTRY = f"""
define ptr @entry(ptr %self, ptr %args, i64 %nargs) nounwind {{
entry:
{load("frame", "ptr", "self", ARRAY_DATA)}
{field("api", "api", "ptr")}
{field("inputs", "inputs")}
{field("outputs", "outputs")}
{section("ports", "ports_at")}
{api("array.type", "array_type")}
  %results = alloca ptr, i64 %outputs
  %all = add i64 %inputs, %outputs
  %short = icmp eq i64 %nargs, %inputs
  %long = icmp eq i64 %nargs, %all
  %count.fits = or i1 %short, %long
  br i1 %count.fits, label %check, label %decline

check:
  %i = phi i64 [ 0, %entry ], [ %i.next, %checked ]
  %i.more = icmp ult i64 %i, %nargs
  br i1 %i.more, label %check.one, label %overlaps
check.one:
  %array.at = getelementptr ptr, ptr %args, i64 %i
  %array = load ptr, ptr %array.at
{_port_at("i")}
  %wanted.flags = call i32 @wanted_flags(i64 %i, i64 %inputs)
  %fits = call i1 @fits(ptr %frame, ptr %array, ptr %port, ptr %array.type, i32 %wanted.flags)
  br i1 %fits, label %checked, label %decline
checked:
  %i.next = add i64 %i, 1
  br label %check

overlaps:
  %given = icmp ne i64 %nargs, %inputs
  br i1 %given, label %overlap.check, label %new
overlap.check:
  %apart = call i1 @apart(ptr %ports, ptr %args, i64 %inputs, i64 %nargs)
  br i1 %apart, label %given.next, label %decline

given.next:
  %g = phi i64 [ 0, %overlap.check ], [ %g.next, %given.one ]
  %g.more = icmp ult i64 %g, %outputs
  br i1 %g.more, label %given.one, label %take
given.one:
  %g.index = add i64 %g, %inputs
  %g.at = getelementptr ptr, ptr %args, i64 %g.index
  %g.array = load ptr, ptr %g.at
{api("increment.given", "Py_IncRef")}
  call void %increment.given(ptr %g.array)
  %g.result = getelementptr ptr, ptr %results, i64 %g
  store ptr %g.array, ptr %g.result
  %g.next = add i64 %g, 1
  br label %given.next

new:
  %n = phi i64 [ 0, %overlaps ], [ %n.next, %new.kept ]
  %n.more = icmp ult i64 %n, %outputs
  br i1 %n.more, label %new.one, label %take
new.one:
  %n.index = add i64 %n, %inputs
  %n.array = call ptr @new_array(ptr %frame, ptr %api, ptr %ports, i64 %n.index, ptr %array.type)
  %n.failed = icmp eq ptr %n.array, null
  br i1 %n.failed, label %new.refused, label %new.kept
new.kept:
  %n.result = getelementptr ptr, ptr %results, i64 %n
  store ptr %n.array, ptr %n.result
  %n.next = add i64 %n, 1
  br label %new
new.refused:
  call void @drop(ptr %api, ptr %results, i64 %n)
  ret ptr null

take:
  %taken = cmpxchg ptr %frame, i64 0, i64 1 acquire monotonic
  %free = extractvalue {{ i64, i1 }} %taken, 1
  br i1 %free, label %run, label %busy
busy:
  call void @drop(ptr %api, ptr %results, i64 %outputs)
  br label %decline

run:
  %status = call i64 @run_arrays(ptr %frame, ptr %api, ptr %ports, ptr %args, i64 %inputs, ptr %results, i64 %outputs)
  %fine = icmp eq i64 %status, 0
  br i1 %fine, label %give, label %failed
failed:
  call void @drop(ptr %api, ptr %results, i64 %outputs)
{api("make.long", "PyLong_FromLongLong")}
  %number = call ptr %make.long(i64 %status)
  %number.failed = icmp eq ptr %number, null
  br i1 %number.failed, label %raised, label %raise
raise:
{api("step.failed", "step_failed")}
{api("set.error", "PyErr_SetObject")}
  call void %set.error(ptr %step.failed, ptr %number)
{api("decrement", "Py_DecRef")}
  call void %decrement(ptr %number)
  br label %raised
raised:
  ret ptr null

give:
{field("frame.flags", "flags")}
  %tuple.flag = and i64 %frame.flags, {AS_TUPLE}
  %single = icmp eq i64 %tuple.flag, 0
  br i1 %single, label %give.one, label %give.tuple
give.one:
  %only = load ptr, ptr %results
  ret ptr %only
give.tuple:
{api("tuple.new", "PyTuple_New")}
  %tuple = call ptr %tuple.new(i64 %outputs)
  %tuple.failed = icmp eq ptr %tuple, null
  br i1 %tuple.failed, label %tuple.refused, label %tuple.next
tuple.refused:
  call void @drop(ptr %api, ptr %results, i64 %outputs)
  ret ptr null
tuple.next:
  %t = phi i64 [ 0, %give.tuple ], [ %t.next, %tuple.one ]
  %t.more = icmp ult i64 %t, %outputs
  br i1 %t.more, label %tuple.one, label %tuple.done
tuple.one:
  %t.at = getelementptr ptr, ptr %results, i64 %t
  %t.item = load ptr, ptr %t.at
{api("tuple.set", "PyTuple_SetItem")}
  %t.ignored = call i32 %tuple.set(ptr %tuple, i64 %t, ptr %t.item)
  %t.next = add i64 %t, 1
  br label %tuple.next
tuple.done:
  ret ptr %tuple

decline:
{api("not.implemented", "not_implemented")}
{api("increment", "Py_IncRef")}
  call void %increment(ptr %not.implemented)
  ret ptr %not.implemented
}}
"""

# Is the object exactly an ndarray of the port's dtype (the same object), rank and shape, with the flags set?
_FITS = f"""
define internal i32 @wanted_flags(i64 %i, i64 %inputs) nounwind {{
  %is.input = icmp ult i64 %i, %inputs
  %result = select i1 %is.input, i32 {C_CONTIGUOUS | ALIGNED}, i32 {C_CONTIGUOUS | ALIGNED | WRITEABLE}
  ret i32 %result
}}

define internal i1 @fits(ptr %frame, ptr %array, ptr %port, ptr %array.type, i32 %wanted.flags) nounwind {{
entry:
{load("type", "ptr", "array", OBJECT_TYPE)}
  %is.array = icmp eq ptr %type, %array.type
  br i1 %is.array, label %look, label %no
look:
{load("dtype", "ptr", "array", ARRAY_DTYPE)}
{_port("port.dtype", "dtype", "ptr")}
{load("rank", "i32", "array", ARRAY_RANK)}
{_port("port.rank", "rank")}
{load("flags", "i32", "array", ARRAY_FLAGS)}
{load("shape", "ptr", "array", ARRAY_SHAPE)}
{_port("shape.offset", "shape_at")}
  %port.shape = getelementptr i8, ptr %frame, i64 %shape.offset
  %same.dtype = icmp eq ptr %dtype, %port.dtype
  %rank.wide = sext i32 %rank to i64
  %same.rank = icmp eq i64 %rank.wide, %port.rank
  %has.flags = and i32 %flags, %wanted.flags
  %flags.fit = icmp eq i32 %has.flags, %wanted.flags
  %kind.fits = and i1 %same.dtype, %same.rank
  %fits = and i1 %kind.fits, %flags.fit
  br i1 %fits, label %sizes, label %no
sizes:
  %d = phi i64 [ 0, %look ], [ %d.next, %size ]
  %d.more = icmp ult i64 %d, %port.rank
  br i1 %d.more, label %size, label %yes
size:
  %size.at = getelementptr i64, ptr %shape, i64 %d
  %size.is = load i64, ptr %size.at
  %port.size.at = getelementptr i64, ptr %port.shape, i64 %d
  %port.size = load i64, ptr %port.size.at
  %same.size = icmp eq i64 %size.is, %port.size
  %d.next = add i64 %d, 1
  br i1 %same.size, label %sizes, label %no
yes:
  ret i1 true
no:
  ret i1 false
}}
"""

# Does no given output share a byte with an input or another output?
_APART = f"""
define internal i1 @apart(ptr %ports, ptr %args, i64 %inputs, i64 %nargs) nounwind {{
entry:
  br label %outer
outer:
  %i = phi i64 [ %inputs, %entry ], [ %i.next, %outer.next ]
  %i.more = icmp ult i64 %i, %nargs
  br i1 %i.more, label %outer.one, label %yes
outer.one:
  %a.at = getelementptr ptr, ptr %args, i64 %i
  %a = load ptr, ptr %a.at
{load("a.from", "i64", "a", ARRAY_DATA)}
{_port_at("i")}
{_port("a.bytes", "nbytes")}
  %a.to = add i64 %a.from, %a.bytes
  br label %inner
inner:
  %j = phi i64 [ 0, %outer.one ], [ %j.next, %inner.next ]
  %j.more = icmp ult i64 %j, %i
  br i1 %j.more, label %inner.one, label %outer.next
inner.one:
  %b.at = getelementptr ptr, ptr %args, i64 %j
  %b = load ptr, ptr %b.at
{load("b.from", "i64", "b", ARRAY_DATA)}
{_port_at("j", "other")}
{_port("b.bytes", "nbytes", port="other")}
  %b.to = add i64 %b.from, %b.bytes
  %a.first = icmp ule i64 %a.to, %b.from
  %b.first = icmp ule i64 %b.to, %a.from
  %apart = or i1 %a.first, %b.first
  br i1 %apart, label %inner.next, label %no
inner.next:
  %j.next = add i64 %j, 1
  br label %inner
outer.next:
  %i.next = add i64 %i, 1
  br label %outer
yes:
  ret i1 true
no:
  ret i1 false
}}
"""

# new_array: a large one takes its memory from the outputs that are kept, unless the user has set another allocator.
_ARRAYS = f"""
define internal ptr @plain_array(ptr %frame, ptr %api, ptr %port, ptr %array.type) nounwind {{
{_port("rank", "rank")}
{_port("type.number", "type_number")}
{_port("shape.offset", "shape_at")}
  %shape = getelementptr i8, ptr %frame, i64 %shape.offset
  %rank.narrow = trunc i64 %rank to i32
  %type.narrow = trunc i64 %type.number to i32
{api("new", "array_new")}
  %result = call ptr %new(ptr %array.type, i32 %rank.narrow, ptr %shape, i32 %type.narrow,
    ptr null, ptr null, i32 0, i32 0, ptr null)
  ret ptr %result
}}

define internal ptr @new_array(ptr %frame, ptr %api, ptr %ports, i64 %index, ptr %array.type) nounwind {{
entry:
{_port_at("index")}
{_port("kept", "kept")}
  %small = icmp eq i64 %kept, 0
  br i1 %small, label %plain, label %choose
choose:
{api("set", "set_allocator")}
{api("own", "output_allocator")}
{api("default.place", "default_allocator")}
  %default = load ptr, ptr %default.place
{api("decrement", "Py_DecRef")}
{api("clear", "PyErr_Clear")}
  %before = call ptr %set(ptr %own)
  %unset = icmp eq ptr %before, null
  br i1 %unset, label %unkept, label %whose
whose:
  %usual = icmp eq ptr %before, %default
  br i1 %usual, label %make, label %restore
make:
  %made = call ptr @plain_array(ptr %frame, ptr %api, ptr %port, ptr %array.type)
  %refused = icmp eq ptr %made, null
  br i1 %refused, label %forget, label %restore
forget:
  call void %clear()
  br label %restore
restore:
  %result = phi ptr [ null, %whose ], [ %made, %make ], [ null, %forget ]
  %mine = call ptr %set(ptr %before)
  call void %decrement(ptr %before)
  %lost = icmp eq ptr %mine, null
  br i1 %lost, label %unkept, label %restored
restored:
  call void %decrement(ptr %mine)
  %some = icmp ne ptr %result, null
  br i1 %some, label %done, label %plain
done:
  ret ptr %result
unkept:
  call void %clear()
  br label %plain
plain:
  %own.memory = call ptr @plain_array(ptr %frame, ptr %api, ptr %port, ptr %array.type)
  ret ptr %own.memory
}}

define internal void @drop(ptr %api, ptr %objects, i64 %count) nounwind {{
entry:
{api("decrement", "Py_DecRef")}
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %one ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %one, label %done
one:
  %at = getelementptr ptr, ptr %objects, i64 %i
  %object = load ptr, ptr %at
  call void %decrement(ptr %object)
  %i.next = add i64 %i, 1
  br label %next
done:
  ret void
}}

define internal void @put(ptr %buffers, ptr %ports, ptr %arrays, i64 %first, i64 %count) nounwind {{
entry:
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %one ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %one, label %done
one:
  %at = getelementptr ptr, ptr %arrays, i64 %i
  %array = load ptr, ptr %at
{load("data", "ptr", "array", ARRAY_DATA)}
  %index = add i64 %i, %first
{_port_at("index")}
{_port("id", "buffer")}
  %buffer.at = getelementptr ptr, ptr %buffers, i64 %id
  store ptr %data, ptr %buffer.at
  %i.next = add i64 %i, 1
  br label %next
done:
  ret void
}}

; Gives the frame back.
define internal i64 @run_arrays(ptr %frame, ptr %api, ptr %ports, ptr %args, i64 %inputs,
    ptr %results, i64 %outputs) nounwind {{
entry:
{section("buffers", "buffers_at")}
{field("threads", "threads")}
{field("flags", "flags")}
  call void @put(ptr %buffers, ptr %ports, ptr %args, i64 0, i64 %inputs)
  call void @put(ptr %buffers, ptr %ports, ptr %results, i64 %inputs, i64 %outputs)
  %release = and i64 %flags, {RELEASE_GIL}
  %keep = icmp eq i64 %release, 0
  br i1 %keep, label %holding, label %without
holding:
  %quick = call i64 @run(ptr %frame, ptr %buffers, i64 %threads, ptr null)
  store atomic i64 0, ptr %frame release, align 8
  ret i64 %quick
without:
{api("save", "PyEval_SaveThread")}
{api("restore", "PyEval_RestoreThread")}
  %thread = call ptr %save()
  %status = call i64 @run(ptr %frame, ptr %buffers, i64 %threads, ptr null)
  store atomic i64 0, ptr %frame release, align 8
  call void %restore(ptr %thread)
  ret i64 %status
}}
"""


def entry_text() -> str:
    """@entry and its parts; it calls @run."""
    return "\n".join([_ENTRY, _FITS, _APART, _ARRAYS])


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_METH_FASTCALL = 0x0080


def method_definition(address: int) -> _MethodDef:
    """A PyMethodDef of machine code with the METH_FASTCALL form. It must outlive every function made of it."""
    return _MethodDef(b"entry", address, _METH_FASTCALL, b"Runs a compiled program on arrays.")


def bind_entry(definition: _MethodDef, frame: np.ndarray) -> Any:
    """The Python function that runs the entry on a frame; it holds the frame."""
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    return make(ctypes.addressof(definition), frame, None)
