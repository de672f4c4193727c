"""Source of 02_feature_learning.ipynb; see build.py."""

# %% [markdown]
# # Feature learning at infinite width
#
# One network, trained twice on the same images: in the parametrization in which its infinite-width limit learns by a fixed
# kernel, and in the one in which its features move. Both limits are derived from the same program, and wide networks are trained
# beside them. The story is that of section 3 of *Tensor Programs IV* (Yang and Hu, 2021).

# %%
import matplotlib.pyplot as plt
import numpy as np

import tp

# %load_ext tp

# %% [markdown]
# ## The task
#
# Threes and eights, by their eight leading principal components, every row of length $\sqrt 8$.

# %%
images, labels = tp.digits()
pairs = np.flatnonzero(np.isin(labels, (3, 8)))
rows = images[pairs].reshape(-1, 64)
components = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:8]
order = np.argsort(labels[pairs[:10]], kind="stable")
X = ((rows - rows.mean(axis=0)) @ components.T)[:10][order]
X *= np.sqrt(8) / np.linalg.norm(X, axis=1, keepdims=True)
y = np.where(labels[pairs[:10]][order] == 3, 1.0, -1.0)

figure, axes = plt.subplots(1, 10, figsize=(9, 1.1))
for axis, image in zip(axes, images[pairs[:10]][order], strict=True):
    axis.imshow(image, cmap="gray_r")
    axis.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## A limit that learns no features
#
# The NTK parametrization: every weight is standard normal and trained at rate 1, with $1/\sqrt{\text{fan-in}}$ in front.

# %% [tp] ntp
# network ntp
#   width n
#   dim   d = 8
#   input x : [d]
#   weight U : [n, d] = 1/sqrt(d) * N(0, 1)
#   weight v : [n]    = 1/sqrt(n) * N(0, 1)
#   h = U @ x
#   output f = v @ tanh(h)

# %% [markdown]
# How does every quantity of a training run scale with the width? The exponents are derived, exactly:

# %%
ntp.scaling()

# %% [markdown]
# It is stable, it learns, and its features do not: it trains by its tangent kernel.

# %%
ntp.ntk("as written")

# %% [markdown]
# So its limit is kernel gradient descent. Its initial output is random; with squared loss the mean over initializations is
# the curve from $f_0=0$. Networks of growing width follow it, and their features move less and less.

# %%
widths = (64, 256, 1024, 4096, 16384)
kernel_regime = ntp.train(X, y, steps=4, lr=1.0)
kernel_regime.lazy().plot(widths=(64, 1024, 16384), seeds=8)

# %% [markdown]
# ## One that does
#
# The maximal update parametrization of the same network is not a choice but a solution: of the conditions that every weight be
# updated as much as a stable limit allows.

# %%
print(ntp.mup().table())

# %% [tp] mup
# network mup
#   width n
#   dim   d = 8
#   input x : [d]
#   weight U : [n, d] = 1/sqrt(d) * N(0, 1), lr n
#   weight v : [n]    = 1/n * N(0, 1),       lr n
#   h = U @ x
#   output f = v @ tanh(h)

# %%
mup.scaling()

# %% [markdown]
# Outputs are no longer random at initialization: they vanish. Training has a deterministic limit, with an error on every number.

# %%
features = mup.train(X, y, steps=4, lr=1.0)
limit = features.limit()
print(limit)

# %% [markdown]
# Beside it networks of width 64 to 16384, and dashed what the tangent kernel at initialization would have done.

# %%
finite = [features.simulate(n, seeds=2) for n in widths]
limit.plot(beside=finite)

# %% [markdown]
# The distance to the limit falls like $1/\sqrt n$:

# %%
features.verify(widths=widths, seeds=2)

# %% [markdown]
# ## What the features do
#
# The average product of the last hidden features of two images, before training and after it. At infinite width the kernel of the
# NTK parametrization stays as it is on the left. In the maximal update parametrization the two classes become two blocks.

# %%
figure, panels = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
wide = kernel_regime.simulate(16384, seeds=1)
for panel, kernel, title in zip(
    panels,
    (limit.kernels[0], wide.kernels[-1], limit.kernels[-1]),
    ("before training", "after it, NTK, width 16384", "after it, μP, infinite width"),
    strict=True,
):
    drawn = panel.imshow(kernel / np.sqrt(np.outer(np.diag(kernel), np.diag(kernel))), vmin=-1, vmax=1, cmap="RdBu_r")
    panel.set(title=title, xticks=[], yticks=[])
figure.colorbar(drawn, ax=panels, shrink=0.8)
plt.show()

# %% [markdown]
# ## The first step, by hand
#
# Where the limit comes from shows best with one sample, a linear activation and a matrix of two widths. After one step the
# matrix meets what its own transpose has made: $W$ acts on a vector that contains $W^\top y$, and its product gets a dot part.

# %% [tp] deep
# network deep
#   width n
#   input  x : []
#   weight u : [n]    = 1 * N(0, 1),   lr n
#   weight W : [n, n] = 1 * N(0, 1/n)
#   weight v : [n]    = 1/n * N(0, 1), lr n
#   h = u * x
#   y = W @ h
#   output f = v @ y

# %%
one = deep.train([1.0], [1.0], steps=3, lr=0.25)
one.z(steps=1)

# %% [markdown]
# Every expectation is that of a polynomial, so that the outputs are rational numbers, at infinite width and without error. Here
# for three steps:

# %%
from IPython.display import Math

Math(one.limit(method="exact").latex())
