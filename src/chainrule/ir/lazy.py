"""Attributes that are computed when they are first asked for, without a lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

Result = TypeVar("Result")
Self = TypeVar("Self", bound="lazy[Any]")


class lazy(Generic[Result]):
    """A method whose result replaces it on the object at the first access.

    functools.cached_property takes a lock on Python 3.11, one for all objects of a class: a fork while another thread
    computes would leave it taken in the child for ever. Here two threads may both compute, and get equal results.
    """

    def __init__(self, compute: Callable[[Any], Result]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self: Self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Result: ...

    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        found = self.compute(instance)
        instance.__dict__[self.name] = found  # next to no method: the object's own attribute is found first
        return found
