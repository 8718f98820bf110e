"""Memory of batches is used again, and never while somebody can read it."""

import gc
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data.batches.buffers import recycled_arrays

SHAPE = (4, 6, 6, 3)


def address(array: NDArray[np.float32]) -> int:
    return array.__array_interface__["data"][0]


def filled(take: Callable[[], NDArray[np.float32]], value: float) -> NDArray[np.float32]:
    array = take()
    array[:] = value
    return array


def test_an_array_has_the_shape_and_begins_where_a_page_does() -> None:
    array = recycled_arrays(SHAPE)()
    assert array.shape == SHAPE
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert address(array) % 4096 == 0


def test_memory_that_nobody_holds_is_handed_out_again() -> None:
    take = recycled_arrays(SHAPE)
    first = take()
    place = address(first)
    del first
    gc.collect()
    assert address(take()) == place


def test_arrays_that_are_held_keep_their_values() -> None:
    take = recycled_arrays(SHAPE)
    held = [filled(take, number) for number in range(20)]
    assert len({address(array) for array in held}) == 20
    assert [float(array.max()) for array in held] == list(range(20))


@pytest.mark.parametrize(
    "view",
    [
        lambda array: array[1],
        lambda array: array[1:, ::-1].transpose(3, 1, 2, 0)[0],
        lambda array: array.reshape(-1)[5:],
        lambda array: memoryview(array),
        lambda array: np.asarray(memoryview(array)),
    ],
    ids=["row", "turned", "flat", "memoryview", "array of a memoryview"],
)
def test_a_view_alone_keeps_the_memory_from_being_used_again(
    view: Callable[[NDArray[np.float32]], object],
) -> None:
    take = recycled_arrays(SHAPE)
    kept = view(filled(take, 7))
    gc.collect()
    for number in range(5):
        filled(take, number)
    assert (np.asarray(kept) == 7).all()


def test_tensors_of_either_backend_keep_their_values_while_batches_go_on() -> None:
    import jax
    import tensorflow as tf

    take = recycled_arrays(SHAPE)
    rows = tf.data.Dataset.from_generator(
        lambda: (filled(take, number) for number in range(12)),
        output_signature=tf.TensorSpec(SHAPE, tf.float32),
    )
    tensors = list(rows.prefetch(2))
    arrays = [jax.device_put(filled(take, 100 + number)) for number in range(12)]
    for number in range(12):
        assert (tensors[number].numpy() == number).all()
        assert (np.asarray(arrays[number]) == 100 + number).all()


def test_tensorflow_reads_a_batch_where_it_is() -> None:
    import tensorflow as tf

    take = recycled_arrays(SHAPE)
    held = [filled(take, number) for number in range(3)]
    signature = tf.TensorSpec(SHAPE, tf.float32)
    tensors = list(tf.data.Dataset.from_generator(lambda: iter(held), output_signature=signature))
    held[1][:] = 9  # shows in the tensor only if it is the same memory
    assert [float(tensor.numpy().max()) for tensor in tensors] == [0, 9, 2]
