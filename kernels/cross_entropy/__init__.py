"""Softmax cross-entropy over a large vocabulary, fused with the head that makes its logits.

Of the two ways not to hold N·V logits, this package takes (a):

(a) Chunks of tokens. The logits of a chunk come from the library's matrix product, a kernel reads
    them once for their log-sum-exp and once more to turn them into their gradient, and two more
    products make the gradients of hidden and weight: 3 products of N·V·H.
(b) Kernels that make logits in registers and never store them (Cut Cross-Entropy, arXiv
    2411.09009): no traffic for logits, but backward makes them again: 4 products of N·V·H, at the
    rate of a hand-written product.

Arithmetic for an H200 (790 TFLOP/s in bf16 products, 4.3 TB/s), H = 6144, V = 200,064. One product
is 2·N·V·H FLOP. (a) moves 18 bytes a logit: fp32 logits written, read for statistics, read for the
gradient (12), a bf16 gradient written, and read by two products (6). It also writes the fp32
gradient of the weight once a chunk and reads it for every chunk but the first, 4·V·H = 4.9 GB
each time (2, 7 and 25 chunks below), and rounds it to bf16 in the end, 6·V·H.

    N              8,192     32,768    131,072
    one product    25.5 ms   102 ms    408 ms
    (a) products   76.5      306       1,224
        logits      6.9       27         110
        weight      5.1       17          58
        sum        89        350       1,392
    (b) products  102        408       1,631      at the library's rate; a Triton product is slower

A logit costs (a) 18 B / 4.3 TB/s = 4.2 ps of traffic and (b) 2·H / 790 TFLOP/s = 2.53·H fs for
the fourth product: equal at H = 1650, so (a) for every head wider than that, and below it while
the kernels of (b) run at less than the library's rate. These are predictions from the rates named,
without overlap.

Memory: logits and their gradients never take more than ``linear.WORKSPACE`` (3 GiB on a GPU, for
any N), beside the fp32 gradients of weight (4·V·H bytes; 4.9 GB here) and hidden (4·N·H) that
wait from forward to backward. All of V is divided by the ranks of a vocabulary-parallel group.

Cotangents: ``"sum"`` and ``"mean"`` compute gradients in forward with each token's weight known,
and backward multiplies them by the one number that was not. With ``"none"`` a cotangent for each
token arrives later. Scaling rows could repair hidden's gradient but not weight's, which is a sum
over tokens; so backward makes the logits again, with 4 products and no approximation.
"""

from kernels.cross_entropy.api import Details, cross_entropy, linear_cross_entropy
from kernels.cross_entropy.rows import configurations

__all__ = ["Details", "configurations", "cross_entropy", "linear_cross_entropy"]
