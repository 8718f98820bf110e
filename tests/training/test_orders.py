from __future__ import annotations

import numpy as np
import pytest

from training.triplets.mining import TripletError
from training.triplets.orders import balanced_order, shuffled_triplets, sliding_window_order


def test_balanced_batches_hold_so_many_images_of_so_many_people():
    labels = np.repeat(np.arange(11), [2, 9, 4, 4, 5, 6, 7, 8, 4, 4, 3])
    order = balanced_order(labels, people=4, images=4, batches=9, seed=3)
    for batch in order.reshape(9, 16):
        people, counts = np.unique(labels[batch], return_counts=True)
        assert len(people) == 4
        assert np.all(counts == 4)
        for person in people[people > 0]:
            if (labels == person).sum() >= 4:
                own = batch[labels[batch] == person]
                assert len(np.unique(own)) == 4
    assert np.array_equal(order, balanced_order(labels, people=4, images=4, batches=9, seed=3))
    assert not np.array_equal(order, balanced_order(labels, people=4, images=4, batches=9, seed=4))


def test_balanced_people_come_in_rounds_and_so_do_their_images():
    labels = np.repeat(np.arange(8), 6)
    order = balanced_order(labels, people=4, images=3, batches=4, seed=0)
    people = labels[order].reshape(4, 4, 3)[:, :, 0]
    # Two batches are a round of the eight, two rounds show all six images of each.
    assert sorted(people[:2].ravel()) == list(range(8))
    assert sorted(people[2:].ravel()) == list(range(8))
    assert sorted(order) == list(range(48))


def test_balanced_batches_of_more_people_than_there_are_is_one_line():
    with pytest.raises(TripletError, match=r"at most the 3 people .* found 4"):
        balanced_order(np.arange(9) // 3, people=4, images=2, batches=1, seed=0)


def test_sliding_windows_pair_neighbours_with_an_image_of_another():
    labels = np.repeat(np.arange(5), [6, 9, 7, 6, 8])
    triplets = sliding_window_order(labels, seed=1, rounds=40).reshape(-1, 3)
    # The smallest person has six images: five neighbours for each of five people, each round.
    assert len(triplets) == 40 * 5 * 5
    anchors, positives, negatives = triplets.T
    assert np.array_equal(labels[anchors], labels[positives])
    assert np.all(anchors != positives)
    assert np.all(labels[negatives] != labels[anchors])
    assert set(triplets.ravel().tolist()) == set(range(36))
    # Each of the four others is as likely: 50 of a person's 200 negatives, five deviations wide.
    for person in range(5):
        counts = np.bincount(labels[negatives[labels[anchors] == person]], minlength=5)
        others = np.delete(counts, person)
        assert counts[person] == 0
        assert np.all(np.abs(others - 50) < 5 * np.sqrt(50 * 3 / 4))


def test_shuffled_triplets_stay_whole():
    order = np.arange(30)
    shuffled = shuffled_triplets(order, seed=0)
    assert not np.array_equal(shuffled, order)
    assert sorted(map(tuple, shuffled.reshape(-1, 3))) == sorted(map(tuple, order.reshape(-1, 3)))


@pytest.mark.parametrize(
    ("labels", "message"), [([0, 0, 0], "one person only"), ([0, 0, 1], "two images or more")]
)
def test_sliding_windows_that_cannot_be_are_one_line(labels, message):
    with pytest.raises(TripletError, match=message):
        sliding_window_order(np.array(labels), seed=0)
