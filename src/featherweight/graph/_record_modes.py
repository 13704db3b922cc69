"""The two modes under which a network is recorded."""

from types import FunctionType
from typing import Any, Final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from featherweight.graph._record_functions import body_of, named_count, named_size
from featherweight.graph._record_places import pending_of
from featherweight.graph._record_run import Recorder


class DispatchMode(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not annotate its hook
    """Sees every operator, below autograd."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the same
        self._recorder = recorder

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would wrap the method below in one that imports its compiler, which takes a second

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operator and writes it down."""
        with torch._C.DisableTorchFunction():
            return self._recorder.call(func, args, kwargs or {})


class FunctionMode(TorchFunctionMode):
    """Sees what the network's code passes to torch, before integers lose their origin."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder
        self._inside: Any = None  # the function in Python that runs

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the function; functions written in Python under this mode again."""
        kwargs = kwargs or {}
        answer = _ANSWERS.get(func)
        if answer is not None:
            return answer(self._recorder, func, args, kwargs)
        if func is self._inside and hasattr(torch._C.TensorBase, func.__name__):
            func = getattr(torch._C.TensorBase, func.__name__)  # what a method of Tensor calls as its super()
        elif isinstance(func, FunctionType) and func is not self._inside:  # torch.meshgrid hands itself on for ever
            body = body_of(func)
            if body is not None:
                return self._python(func, body, args, kwargs)
        recorder = self._recorder
        is_builtin = not isinstance(func, FunctionType)
        before, recorder.pending = recorder.pending, pending_of(args, kwargs, is_builtin)
        try:
            return func(*args, **kwargs)
        finally:
            recorder.pending = before

    def _python(self, function: FunctionType, body: FunctionType, args: Any, kwargs: Any) -> Any:
        before, self._inside = self._inside, function
        try:
            with self:
                return body(*args, **kwargs)
        finally:
            self._inside = before


def _answer_size(recorder: Recorder, function: Any, args: Any, kwargs: Any) -> Any:
    size = function(*args, **kwargs)
    tensor = args[0] if args else kwargs.get("self")
    if not isinstance(tensor, Tensor) or torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return size
    with torch._C.DisableTorchFunction():
        serial = recorder.value_of(tensor).serial
        if isinstance(size, torch.Size):
            return named_size(serial, size)
        if function is Tensor.size:
            dim = kwargs["dim"] if "dim" in kwargs else args[1]
            return named_size(serial, tensor.shape)[dim]
        return named_count(serial, tensor.shape)


def _answer_values(recorder: Recorder, function: Any, args: Any, kwargs: Any) -> Any:
    with torch._C.DisableTorchFunction():
        recorder.check_constant(args[0], function.__name__)
    return function(*args, **kwargs)


def _answer_memory(recorder: Recorder, function: Any, args: Any, kwargs: Any) -> Any:
    with torch._C.DisableTorchFunction():
        recorder.leaked(args[0])
    return function(*args, **kwargs)


_SHAPE: Final[Any] = Tensor.shape  # the descriptor, which stubs take for its value
_ANSWERS: Final[dict[Any, Any]] = {
    _SHAPE.__get__: _answer_size,
    Tensor.size: _answer_size,
    Tensor.numel: _answer_size,
    Tensor.nelement: _answer_size,
    torch.numel: _answer_size,
    Tensor.tolist: _answer_values,
    Tensor.numpy: _answer_memory,
    Tensor.__dlpack__: _answer_memory,
}
