"""PyTorch, one network after the other: modules, autograd and torch.optim.SGD."""

from itertools import chain

import torch
from torch import nn
from torch.nn import functional

from bench.contenders._tensors import Trainer
from bench.problem import Problem


def module(problem: Problem) -> nn.Sequential:
    """Returns one network, its weights not set."""
    *hidden, last = [nn.Linear(*fans, bias=False) for fans in problem.layers]
    return nn.Sequential(*chain.from_iterable((layer, nn.ReLU()) for layer in hidden), last)


class Loop(Trainer):
    """T steps of each of the R networks in turn."""

    def prepare(self) -> None:
        self.nets = [module(self.problem) for _ in range(self.problem.runs)]
        for net, *weights in zip(self.nets, *self.tensors.weights, strict=True):
            for parameter, weight in zip(net.parameters(), weights, strict=True):
                parameter.data.copy_(weight.T)
        rate = self.problem.learning_rate
        self.optimizers = [
            torch.optim.SGD(net.parameters(), lr=rate, foreach=True) for net in self.nets
        ]

    def advance(self) -> torch.Tensor:
        pairs = zip(self.nets, self.optimizers, self.tensors.rows_RxTxB, strict=True)
        return torch.stack([self._train(*of_run) for of_run in pairs])

    def _train(
        self, net: nn.Module, optimizer: torch.optim.Optimizer, rows_TxB: torch.Tensor
    ) -> torch.Tensor:
        losses = []
        for rows_B in rows_TxB:
            x_BxD, y_B = self.tensors.batch(rows_B)
            loss = functional.cross_entropy(net(x_BxD), y_B)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)
