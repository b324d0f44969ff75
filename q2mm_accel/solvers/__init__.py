"""What minimizes a loss. The methods of `solve_native`: a whole fit as one traced JAX computation, from one start or many.

`native.solve` runs on the host; `loop.segment` is what it compiles. A method (`methods`) proposes, `loop` decides.

Words:

- x, external variables: what the user sees, within the user's bounds.
- internal variables: what a solver sees: x in units of a typical change. Bounds are a box, or, for methods without bounds, x
  is a smooth function of an unbounded variable (`variables`; the words are MINUIT's).
- method: a JAXopt solver, reduced to one step at a time from one evaluation.
- trial: a point that a method proposes, evaluated once, and accepted or rejected. Rejected, it is tried again closer by.
- step: an accepted trial; `maxiter` and `nit` count steps, `nfev` counts trials.
- lane: the place of one fit in the compiled loop. All lanes take their trials at the same time; one that has ended waits.
- fit: from one start to its end. There may be more fits than lanes: a start waits until a lane is free (`fits`).
- segment: one run of the compiled loop, `callback_every` steps or trials long. Between segments the host looks at Ctrl-C,
  time limit and callback, saves checkpoints, and refills lanes.
- setting: what all fits depend on but their starts: problem, scale, bounds, tolerances. Arguments of the loop, so that
  another value compiles nothing.
- stage: all fits of one precision; a polish is a second stage.
"""
