"""From a parameter vector to loss and derivatives: everything here is traced by JAX, and nothing else.

Arrays come in from `problem`, arrays go out; nothing is read from files, checked or kept. `loss` is where it begins.
`over_batches` calls `compute_batch` for every batch: local pieces and parameters -> energies and Hessians (`hessian`) ->
eigenvalues (`spectrum`) -> what references read. `loss.weigh` compares. `jacobian` takes the same way and adds the
derivatives of each step (`slopes`, `modes`, `tiles`); `curvature` sums their squares without keeping them.

Words:

- piece: what a term or pair contributes that no parameter changes: its coordinate q with ∂q/∂x and ∂²q/∂x².
- coefficient: what a parameter does change: e, e' and e'' of the term's scalar energy.
- bucket: M molecules of similar size, padded to N atoms; D = 3 N Cartesian components, axis by axis.
- batch: the buckets that are evaluated together. Their Hessians follow each other in one flat buffer.
- stack: batches of the same shapes, along a leading axis of every array; they take turns in a loop, or go to devices.
- slot: where a molecule stands: its stack, batch, bucket and row (`problem.layout`).
- output: what a bucket can compute: energies, eigenvalues, Hessians, eigenmatrices; only those that are needed.
- read: a position in a batch's outputs that a reference needs. Only what is read leaves the batch.
- column: an element of the vector that changes a molecule, counted among those that do (`problem.columns`).
- use: a term's parameter and the element that it follows.
- tile: a square of up to 64 rows and columns of a Hessian or eigenmatrix, whose derivatives are made at a time.
- fixed: what no free parameter changes, computed once and added: terms that are frozen as a whole, and backgrounds.
- padding: entries that make arrays rectangular. They may hold anything, NaN too: every use masks them first, before any
  operation that could turn them into a NaN, for 0 times NaN is NaN in a gradient as well.
- expansion: the affine map from the vector of a solver to all parameters of the force field.
"""
