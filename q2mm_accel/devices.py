"""Devices: which of them share the molecules, how many molecules each evaluates at a time, and how arrays reach them."""

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from q2mm_accel.errors import DeviceError, OptionError
from q2mm_accel.kernel.batches import AXIS
from q2mm_accel.problem.arrays import Problem
from q2mm_accel.runtime import spare_threads


def mesh_of(devices: int | Sequence | None, mesh: Mesh | None) -> Mesh | None:
    """The mesh of several devices, or None for JAX's own choice of one.

    Args:
        devices: how many of `jax.devices()`, or which.
        mesh: a mesh with an axis "molecules" instead.

    Returns:
        The mesh.

    Raises:
        DeviceError: both are given; there are fewer devices; the mesh has no axis "molecules"; or a CPU that serves as
            several devices has too few threads for them.
    """
    if mesh is not None:
        if devices is not None:
            raise DeviceError("give devices or mesh, not both.")
        if not isinstance(mesh, Mesh):
            raise DeviceError(f"mesh is a {type(mesh).__name__}; make a jax.sharding.Mesh of it.")
        if AXIS not in mesh.axis_names:
            raise DeviceError(
                f"the mesh has the axes {', '.join(map(repr, mesh.axis_names))}, but none is {AXIS!r}, along which "
                f"molecules are shared out. Name one so: jax.make_mesh(({mesh.size},), ({AXIS!r},))."
            )
        return _checked(Mesh(mesh.devices, mesh.axis_names))  # without explicit sharding, the default of jax.make_mesh
    if devices is None:
        return None
    if isinstance(devices, int | np.integer) and not isinstance(devices, bool):
        present = jax.devices()
        if not 1 <= devices <= len(present):
            raise DeviceError(
                f"devices is {devices}, but JAX has {len(present)} ({present[0].platform}). On a CPU, XLA_FLAGS="
                "--xla_force_host_platform_device_count=N in the environment makes N of one."
            )
        devices = present[:devices]
    chosen = list(devices) if isinstance(devices, Sequence) else [devices]
    if not chosen or not all(isinstance(device, jax.Device) for device in chosen):
        raise DeviceError(f"devices is {devices!r}; give a number, or a sequence of jax.devices().")
    if len(set(chosen)) < len(chosen):
        raise DeviceError("devices names a device twice.")
    return _checked(Mesh(np.array(chosen), (AXIS,)))


def _checked(mesh: Mesh) -> Mesh:
    """The mesh, if its devices do not wait for each other for ever (`runtime`).

    Raises:
        DeviceError: they may.
    """
    count = len(mesh.local_devices)
    if mesh.devices.flat[0].platform == "cpu" and count > 1 and not spare_threads(count):
        raise DeviceError(
            f"{count} devices on this CPU need at least {2 * count} threads, or they may wait for each other for ever. "
            "Import from q2mm_accel before the first operation of JAX, after XLA_FLAGS or jax_num_cpu_devices are set, or "
            f"set NPROC={4 * count} in the environment."
        )
    return mesh


def placed(problem: Problem, mesh: Mesh | None) -> Problem:
    """A problem of NumPy arrays on its devices: batches shared out along "molecules", all else everywhere.

    On several hosts every process must call it with the same arrays.
    """
    if mesh is None:
        return jax.device_put(problem)
    shared, everywhere = NamedSharding(mesh, PartitionSpec(AXIS)), NamedSharding(mesh, PartitionSpec())
    # stacks have the batches as their leading axis, and a multiple of the devices' number of them (`plan_stacks`)
    where = jax.tree.map(lambda _: everywhere, problem)
    stacks, relaxing = (jax.tree.map(lambda _: shared, each) for each in (problem.stacks, problem.relaxing))
    where = replace(where, stacks=stacks, relaxing=relaxing)
    return replace(jax.device_put(problem, where), mesh=mesh)


def everywhere(problem: Problem, mesh: Mesh) -> Problem:
    """A problem of NumPy arrays, whole on every device, for fits that are shared out by their starts."""
    return jax.device_put(problem, NamedSharding(mesh, PartitionSpec()))


def n_shares(mesh: Mesh | None) -> int:
    """Among how many devices the molecules are shared out."""
    return 1 if mesh is None else mesh.shape[AXIS]


def check_batch_size(batch_size: int | None) -> None:
    """Check how many molecules a device evaluates at a time.

    Raises:
        OptionError: not a number of at least 1.
    """
    if batch_size is None:
        return
    if isinstance(batch_size, bool) or not isinstance(batch_size, Integral) or batch_size < 1:
        raise OptionError(f"batch_size is {batch_size!r}; give a number of molecules of at least 1.")
