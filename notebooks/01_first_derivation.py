"""Source of 01_first_derivation.ipynb; see build.py."""

# %% [markdown]
# # A first derivation
#
# We write a network down once and let the engine derive what it becomes as its width tends to infinity. Then we put numbers
# on it, on real images, and check the derivation against finite networks.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tp

# %load_ext tp

# %% [markdown]
# ## The network
#
# A spec reads like the definition in a paper. `width n` is taken to infinity, `dim d` stays finite; `let L` without a value
# stays a symbol in every formula.

# %% [tp] deep
# network deep
#   width n
#   dim   d = 64
#   let   L, sw2, sb2
#
#   input  x : [d]
#   weight W[1] : [n, d] ~ N(0, sw2/d)
#   weight W[l] : [n, n] ~ N(0, sw2/n)  for l in 2..L
#   weight b[l] : [n]    ~ N(0, sb2)    for l in 1..L
#   weight v    : [n]    ~ N(0, 1/n)
#
#   h[1] = W[1] @ x + b[1]
#   h[l] = W[l] @ relu(h[l-1]) + b[l]   for l in 2..L
#   output f = v @ relu(h[L])

# %% [markdown]
# The same network as a tensor program: `MatMul`, `Nonlin` and `Moment` are all the instructions there are. The loop over
# layers stays a loop.

# %%
deep.program

# %% [markdown]
# ## The limit
#
# At infinite width the outputs are a Gaussian process. Its covariance obeys a recursion over layers, each step with the rule
# that gave it, the rule's source, and the line of the spec it is about.

# %%
deep.nngp()

# %% [markdown]
# The tangent kernel decides how the network learns by gradient descent with small steps.

# %%
ntk = deep.ntk()
ntk

# %% [markdown]
# Its expectations have closed forms (Cho and Saul's arc-cosine kernels, for the rectifier):

# %%
ntk.closed()

# %% [markdown]
# Activations need not be known by name. This one is written with `abs`, and recognised:

# %% [tp] leaky
# network leaky
#   width n
#   dim   d = 64
#   let   slope(z) = 3*z/5 + 2*abs(z)/5
#   input  x : [d]
#   weight U : [n, d] ~ N(0, 1/d)
#   weight v : [n]    ~ N(0, 1/n)
#   h = U @ x
#   output f = v @ slope(h)

# %%
leaky.nngp().closed()

# %% [markdown]
# ## Numbers on real images
#
# The same equations compile to a kernel. Here are 200 of the 8×8 handwritten digits that ship with the package, sorted by
# class, under a network of four layers.

# %%
images, labels = tp.digits()
order = np.argsort(labels[:200], kind="stable")
X, y = images[:200][order].reshape(200, 64), labels[:200][order]

four = tp.parse(str(deep), L=4, sw2=2, sb2=0.1)
K, Theta = four.kernel("nngp", "ntk")(X)
print(f"NNGP {K.shape}, largest {K.max():.4f}; NTK {Theta.shape}, largest {Theta.max():.4f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
left.imshow(Theta)
left.set(title="tangent kernel of 200 digits, by class", xticks=[], yticks=[])
for name, matrix in (("NNGP", K), ("NTK", Theta)):
    right.loglog(np.arange(1, 201), np.linalg.eigvalsh(matrix)[::-1], label=name)
right.set(title="spectrum", xlabel="rank", ylabel="eigenvalue")
right.legend()
plt.show()

# %% [markdown]
# Classes are visible as blocks. How well do they separate? Kernel regression on 1200 digits, tested on the other 597:

# %%
from tp.regression import accuracy, fit

order = np.random.default_rng(0).permutation(len(labels))
X, y = images[order].reshape(-1, 64), labels[order]
for name, gram in (("linear", X @ X.T), ("tangent kernel", four.kernel("ntk")(X))):
    right = accuracy(fit(gram[:1200, :1200], y[:1200]).predict(gram[1200:, :1200]), y[1200:])
    print(f"{name:15} {right:.1%}")

# %% [markdown]
# ## Is it true?
#
# The derivation reads the program symbolically; the simulator runs the same program at finite width. They share nothing else.
# By the Master Theorem the empirical kernels approach the derived ones, with an error that falls like $1/\sqrt n$.

# %%
report = four.verify(widths=(128, 512, 2048), seeds=6)
report

# %%
report.plot()

# %% [markdown]
# ## Into the paper
#
# The derivation as LaTeX, ready to `\input`; `tp derive` writes whole documents and PDF.

# %%
print(ntk.closed().latex())

# %% [markdown]
# ## When a spec is wrong
#
# Mistakes are shown where they are, with a way out.

# %%
try:
    tp.parse(tp.zoo("mlp").network.source.text.replace("W[1] @ x", "W[2] @ x"))
except tp.SpecError as error:
    print(error)
