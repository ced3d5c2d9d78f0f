"""PyTorch, all networks at once: stacked weights (R, fan_in, fan_out), step by step."""

import os
import shutil
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn import functional

from bench.child import UnavailableError
from bench.contenders._tensors import Trainer
from bench.contenders.torch_loop import module


class Together(Trainer):
    """All networks step together."""

    @abstractmethod
    def step(self, x_RxBxD: Tensor, y_RxB: Tensor) -> Tensor:
        """Updates all networks by their batches; returns the losses (R,) before it."""

    def advance(self) -> Tensor:
        steps = self.tensors.rows_RxTxB.unbind(1)
        return torch.stack([self.step(*self.tensors.batch(rows)) for rows in steps], dim=1)


class Ensemble(Together):
    """Batched matrix products (baddbmm, or bmm where there is no bias to add) and autograd."""

    def prepare(self) -> None:
        self.weights = [w.requires_grad_() for w in self.tensors.weights]
        self.optimizer = torch.optim.SGD(self.weights, lr=self.problem.learning_rate, foreach=True)

    def step(self, x_RxBxD: Tensor, y_RxB: Tensor) -> Tensor:
        *hidden, last = self.weights
        h = x_RxBxD
        for weight in hidden:
            h = torch.bmm(h, weight).relu_()
        losses_RB = functional.cross_entropy(
            torch.bmm(h, last).flatten(0, 1), y_RxB.flatten(), reduction="none"
        )
        losses_R = losses_RB.view_as(y_RxB).mean(dim=1)
        self.optimizer.zero_grad(set_to_none=True)
        losses_R.sum().backward()
        self.optimizer.step()
        return losses_R.detach()


class Vmap(Together):
    """torch.func: vmap of grad_and_value of functional_call."""

    def prepare(self) -> None:
        nets = [module(self.problem) for _ in range(self.problem.runs)]
        self.params, _ = stack_module_state(nets)
        for name, weight in zip(self.params, self.tensors.weights, strict=True):
            self.params[name] = weight.mT.contiguous()
        net = nets[0].to("meta")

        def loss(params: dict[str, Tensor], x_BxD: Tensor, y_B: Tensor) -> Tensor:
            return functional.cross_entropy(functional_call(net, params, (x_BxD,)), y_B)

        self.gradients = vmap(grad_and_value(loss))
        self.update: Callable[..., tuple[dict[str, Tensor], Tensor]] = self.updated

    def updated(
        self, params: dict[str, Tensor], x_RxBxD: Tensor, y_RxB: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Returns the parameters after a step, changed in place, and the losses before it."""
        grads, losses_R = self.gradients(params, x_RxBxD, y_RxB)
        for name, weight in params.items():
            weight.sub_(grads[name], alpha=self.problem.learning_rate)
        return params, losses_R

    def step(self, x_RxBxD: Tensor, y_RxB: Tensor) -> Tensor:
        self.params, losses_R = self.update(self.params, x_RxBxD, y_RxB)
        return losses_R


class CompiledVmap(Vmap):
    """The same step through torch.compile, which needs a C++ compiler."""

    def prepare(self) -> None:
        compilers = [os.environ.get("CXX", "g++"), "clang++"]
        if not any(map(shutil.which, compilers)):
            raise UnavailableError("torch.compile needs a C++ compiler, and there is none here")
        super().prepare()
        self.update = torch.compile(self.updated)
