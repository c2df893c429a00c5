"""The vjps as a textbook prints them, where the source takes more care: of rounding, of speed, of zeros.

Besides NumPy's functions and the ops they use some words, in which ``x`` has any number of axes before those
that are named:

- ``onehot(t)``: 1 at the label ``t`` among the classes, 0 elsewhere
- ``windows(x)``: the windows of images, (N, OH, OW, C, KH, KW); ``overlap_add`` adds them up again, which is
  its adjoint; ``first_max(p)`` has 1 at the first maximum of each window, 0 elsewhere
- ``middle(x, axis)``: 1 at the median, or 0.5 at each of the two middle elements
- ``others(x, axis)``: for each element the product of all others
- ``later(g, x, axis)``: sum over j >= i of g_j times the product of the x_k with k <= j but k = i
- ``half_tril(a)``: the lower triangle with half of its diagonal; ``plus_transpose(a)`` = a + a^T;
  ``diag(s)``: a vector as a diagonal matrix; ``cofactors(a)``: signed determinants without row i and column j
- ``values(x)``, ``vectors(x)`` of an `eigh`, ``U(x)``, ``S(x)``, ``V(x)`` of an `svd`, ``Q(x)``, ``R(x)`` of
  a `qr`; ``gaps(s)``: s_j - s_i, infinite on the diagonal
"""
