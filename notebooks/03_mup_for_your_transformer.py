"""Source of 03_mup_for_your_transformer.ipynb; see build.py."""

# %% [markdown]
# # Deriving μP for your transformer
#
# Which learning rate, initial scale and multiplier does each tensor need so that what was tuned at a small width holds at a large
# one? The engine derives it from the spec alone, says why another choice fails, and checks the answer on finite networks.

# %%
import tp

# %load_ext tp

net = tp.zoo("transformer")
print(net)

# %% [markdown]
# ## The rules
#
# Sizes are powers of the width. What is stable is a polyhedron in the exponents; the maximal-update rules are the point
# of it at which every weight's update moves what it acts on by Θ(1). They are unique up to the gauge.

# %%
rules = net.mup("adamw")
print(rules.table())

# %%
print(rules.explanation())

# %% [markdown]
# Two things that are easily got wrong: attention logits are scaled by $1/m$, not $1/\sqrt m$, and the tied read-out by
# $1/n$. Left open, the engine finds the exponent itself.

# %% [tp] block
# network block
#   width n
#   dim   d = 3
#   let   alpha
#   index t, s in 1..4
#   input x[t] : [d]
#   weight E : [n, d] ~ N(0, 1/d)
#   weight Q : [n, n] ~ N(0, 1/n)
#   weight K : [n, n] ~ N(0, 1/n)
#   weight V : [n, n] ~ N(0, 1/n)
#   weight O : [n, n] ~ N(0, 1/n)
#   weight v : [n]    ~ N(0, 1/n)
#   e[t] = E @ x[t]
#   a[t, s] = n^(-alpha) * dot(Q @ e[t], K @ e[s])
#   o[t] = e[t] + O @ sum(softmax(a[t, s] over s) * (V @ e[s]) for s)
#   output f = v @ mean(relu(o[t]) for t)

# %%
block.mup("adam").constants

# %% [markdown]
# ## Why the standard parametrization fails
#
# The first quantity to grow, the update that makes it grow, the monomial, and the line of the spec:

# %%
mlp = tp.zoo("mlp", L=2)
print(mlp.scaling("sp", optimizer="adam").reasons[0])

# %% [markdown]
# ## The coordinate check
#
# The same program, trained for two steps at several widths: slopes of all sizes against the width, measured with their
# errors, and derived. What so few networks leave undecided is said to be, and so would be what contradicts the derivation.

# %% volatile
check = mlp.coord_check("adam", mlp.mup("adam"), widths=(128, 256, 512), seeds=3)
print(check)

# %% [markdown]
# A wrong parametrization is caught by both, and both blame the same tensor.

# %% volatile
wrong = mlp.coord_check("adam", "sp", widths=(128, 256, 512), seeds=3)
print(wrong.blame, wrong.culprit, wrong.report.reasons[0].blame)

# %% [markdown]
# ## Into your training script
#
# `tp.adapters.torch.param_groups(model, rules, width=1024, base_width=128, mapping=…)` gives parameter groups for any
# torch optimizer; no layer is subclassed. As JSON the rules go anywhere.

# %%
print(rules.to_json()[:300])
