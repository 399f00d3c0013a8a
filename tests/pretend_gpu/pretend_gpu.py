"""A GPU where there is none: tensors that say ``cuda:0`` and are as strict about it, computed on the CPU.

What goes wrong on a GPU for another reason than its arithmetic goes wrong here: tensors of two devices meet, NumPy is
handed a GPU's tensor, a step makes the host wait, a branch for ``is_cuda`` is broken, autocast casts otherwise.
Kernels, compilers, TorchScript, pinned memory, streams and speed are not pretended, graphs are (``pretend_graph``);
what is saved and loaded again lies on the CPU. Indexing by a Python list, which goes around dispatch modes, fails here
("Could not run") and not on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from pretend_graph import WAITS, graphs_are_pretended
from torch.utils._python_dispatch import TorchDispatchMode

GPU, CPU = torch.device("cuda:0"), torch.device("cpu")
_MEET = {"aten::copy_", "aten::_to_copy", "aten::index", "aten::index_put_", "aten::_index_put_impl_"}  # on two devices
_is_strict = False


class PretendTensor(torch.Tensor):
    """A tensor of the GPU; its numbers are in ``held``, on the CPU."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor, requires_grad: bool = False) -> PretendTensor:
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, held.size(), device=GPU, requires_grad=requires_grad, **layout)
        made.held = held
        return made

    def __repr__(self) -> str:
        return f"PretendTensor({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        if id(self) not in memo:
            copied = PretendTensor(self.held.detach().clone(), self.requires_grad)
            is_parameter = isinstance(self, torch.nn.Parameter)
            memo[id(self)] = torch.nn.Parameter(copied, self.requires_grad) if is_parameter else copied
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.held.detach().__reduce_ex__(protocol)

    def tolist(self) -> Any:
        _wait("tolist")
        return self.held.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy; this is what a GPU's tensor would say")


class _Mode(TorchDispatchMode):
    """Where a GPU is asked for, a pretended tensor is made."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = _leaves((args, kwargs or {}))
        if any(isinstance(leaf, PretendTensor) or _is_gpu(leaf) for leaf in leaves):
            return _compute(func, args, kwargs or {})
        return func(*args, **_unpinned(kwargs or {}))


def _leaves(x: Any) -> Iterator[Any]:
    """What tuples, lists and dictionaries hold; torch's own way around them took half the time of a step."""
    if isinstance(x, tuple | list):
        for item in x:
            yield from _leaves(item)
    elif isinstance(x, dict):
        yield from _leaves(list(x.values()))
    else:
        yield x


def _map(function: Callable[[Any], Any], x: Any) -> Any:
    """The same tuples, lists and dictionaries with what ``function`` makes of what they hold."""
    if isinstance(x, tuple | list):
        return type(x)([_map(function, item) for item in x])
    if isinstance(x, dict):
        return {key: _map(function, item) for key, item in x.items()}
    return function(x)


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on what the tensors hold; complain as a GPU would."""
    name = func._schema.name
    if name == "aten::_has_compatible_shallow_copy_type":
        return False  # a parameter that moves is replaced, not refilled
    leaves = list(_leaves((args, kwargs)))
    ours = [leaf for leaf in leaves if isinstance(leaf, PretendTensor)]
    others = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and not isinstance(leaf, PretendTensor)]
    _check(func, leaves, ours, others)
    if name == "aten::copy_":
        target, source = args[:2]
        if not isinstance(target, PretendTensor) or (others and not any((*args[2:], kwargs.get("non_blocking")))):
            _wait(name)
        _real(target).copy_(_real(source))
        return target
    device = kwargs.get("device")
    stays = bool(ours) if device is None else _is_gpu(device)
    if name == "aten::_to_copy" and stays != bool(ours) and not (stays and kwargs.get("non_blocking")):
        _wait(f"{name} to {device}")
    found = func(*_map(_real, args), **_map(_real, _unpinned(kwargs)))
    if any(own.shape != own.held.shape for own in ours):
        raise NotImplementedError(f"{func} changed a tensor's shape in place, which is not pretended")
    if not stays:
        return found
    known = {} if func.is_view or name == "aten::detach" else {id(own.held): own for own in ours}  # in place
    return _map(lambda x: _on_the_gpu(x, known), found)


def _on_the_gpu(x: Any, known: dict[int, PretendTensor]) -> Any:
    if not isinstance(x, torch.Tensor) or isinstance(x, PretendTensor):
        return x
    return known[id(x)] if id(x) in known else PretendTensor(x)


def _check(func: Any, leaves: list[Any], ours: list[Any], others: list[torch.Tensor]) -> None:
    name = func._schema.name
    if ours and any(other.dim() for other in others) and name not in _MEET:
        raise RuntimeError(f"tensors of cuda:0 and of the CPU meet in {func}: {[tuple(x.shape) for x in others]}")
    if ours and name in WAITS:
        _wait(name)
    if name in _MEET and name.startswith(("aten::index", "aten::_index")) and ours:
        if not isinstance(leaves[0], PretendTensor):
            raise RuntimeError(f"a tensor of the CPU is indexed by one of cuda:0 in {func}")
        indices = [leaf for leaf in leaves[1:] if isinstance(leaf, torch.Tensor)]
        if others or any(index.dtype == torch.bool for index in indices):
            _wait(name)
    if name == "aten::repeat_interleave" and ours and not any(isinstance(leaf, int) for leaf in leaves):
        _wait(name)


def _wait(name: str) -> None:
    """The host waits for the GPU here."""
    if _is_strict:
        raise RuntimeError(f"called a synchronizing CUDA operation: {name}")


def _real(x: Any) -> Any:
    if isinstance(x, PretendTensor):
        return x.held
    return CPU if _is_gpu(x) else x


def _is_gpu(x: Any) -> bool:
    return isinstance(x, torch.device) and x.type == "cuda"


def _unpinned(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**kwargs, "pin_memory": False} if kwargs.get("pin_memory") else kwargs


def _made_on_the_cpu(function: Callable[..., torch.Tensor], name: str) -> Callable[..., torch.Tensor]:
    """``torch.tensor`` goes around dispatch modes when it fills a GPU's memory."""

    def make(data: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        device = kwargs.get("device")
        if device is None or torch.device(device).type != "cuda":
            return function(data, *args, **kwargs)
        rest = {key: value for key, value in kwargs.items() if key not in ("device", "requires_grad", "pin_memory")}
        return function(data, *args, **rest).to(device).requires_grad_(kwargs.get("requires_grad", False))

    torch.jit._builtins._register_builtin(make, name)
    return make


class _Event:
    """An event or a stream: everything has happened."""

    cuda_stream = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...  # noqa: E704

    def record(self, *args: Any) -> None: ...  # noqa: E704

    def wait(self, *args: Any) -> None: ...  # noqa: E704

    wait_event = wait_stream = wait

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        _wait("synchronize")


class _Properties:
    name, major, minor, total_memory, multi_processor_count = "pretended GPU", 9, 0, 80 << 30, 132


def _set_strict(mode: int | str) -> None:
    global _is_strict
    _is_strict = mode in ("error", 2)


def plug_in() -> None:
    """From here on this process has one GPU."""
    torch.__future__.set_swap_module_params_on_conversion(True)
    torch.tensor = _made_on_the_cpu(torch.tensor, "aten::tensor")  # type: ignore[assignment]
    torch.as_tensor = _made_on_the_cpu(torch.as_tensor, "aten::as_tensor")  # type: ignore[assignment]
    torch.Tensor.pin_memory = lambda self, *_: self  # type: ignore[method-assign]
    torch.Tensor.is_pinned = lambda self, *_: not isinstance(self, PretendTensor)  # type: ignore[method-assign]
    torch.inference_mode = lambda mode=True: (
        torch.no_grad()(mode) if callable(mode) else torch.set_grad_enabled(not mode)
    )
    cuda = torch.cuda
    answers = {
        **dict.fromkeys(("is_available", "is_initialized", "is_bf16_supported"), True),
        **dict.fromkeys(("current_device", "get_sync_debug_mode", "memory_allocated", "max_memory_allocated"), 0),
        **dict.fromkeys(("memory_reserved", "max_memory_reserved"), 0),
        **dict.fromkeys(("_lazy_init", "set_device", "manual_seed", "manual_seed_all", "set_rng_state"), None),
        **dict.fromkeys(("set_rng_state_all", "reset_peak_memory_stats", "empty_cache"), None),
        **{"device_count": 1, "mem_get_info": (70 << 30, 80 << 30), "get_device_capability": (9, 0)},
        **{"get_device_name": _Properties.name, "get_device_properties": _Properties(), "get_rng_state_all": []},
        **{"get_rng_state": torch.empty(0), "current_stream": _Event()},
    }
    for name, answer in answers.items():
        setattr(cuda, name, lambda *_, answer=answer, **__: answer)
    cuda.Event = cuda.Stream = _Event
    cuda.synchronize = lambda *_: _wait("synchronize")
    cuda.set_sync_debug_mode = _set_strict
    graphs_are_pretended(cuda)
    _Mode().__enter__()
