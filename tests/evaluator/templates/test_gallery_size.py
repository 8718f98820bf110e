"""FPIR and TPIR in smaller galleries, beside all galleries of that size searched one by one."""

import itertools

import numpy as np
import pytest
from fixture import made
from test_identification import tinyface

from evaluator.errors import InputError
from evaluator.templates.gallery_size import rates_by_size
from evaluator.templates.identification import identification
from evaluator.templates.pooling import pooled
from evaluator.templates.search import search
from evaluator.templates.template_set import Gallery


def test_rates_are_means_over_all_smaller_galleries():
    held, embeddings = made()
    vectors = pooled(held, embeddings).vectors
    whole, threshold = Gallery("", held.galleries[0].templates[:7]), 0.45
    found = rates_by_size(
        vectors, held.person, whole, held.probes, threshold=threshold, sizes=range(1, 8)
    )
    for each in found:
        fpirs, tpirs = [], []
        mated = np.isin(held.person[held.probes], held.person[whole.templates])
        for chosen in itertools.combinations(whole.templates, each.size):
            one = search(vectors, held.person, Gallery("", np.array(chosen)), held.probes)
            fpirs.append((one.score[~mated] > threshold).mean())
            hit = (one.rank == 1) & (one.score > threshold)
            tpirs.append((hit[one.mated]).mean())
        assert (each.fpir, each.tpir) == pytest.approx((np.mean(fpirs), np.mean(tpirs)))
    assert [each.fpir for each in found] == sorted(each.fpir for each in found)


def test_the_whole_gallery_has_its_own_figures():
    held, embeddings = made()
    vectors = pooled(held, embeddings).vectors
    gallery = held.galleries[0]
    own = search(vectors, held.person, gallery, held.probes)
    at = identification([own], held.person[held.probes], held.person).tpir_at_fpir["0.1"]
    (found,) = rates_by_size(
        vectors, held.person, gallery, held.probes, threshold=at.threshold, sizes=[20]
    )
    assert (found.fpir, found.tpir) == pytest.approx((at.fpir, at.tpir))


def test_several_mates_and_no_strangers():
    vectors, person = tinyface()
    gallery, probes = Gallery("", np.arange(560)), np.arange(560, 590)
    found = rates_by_size(vectors, person, gallery, probes, threshold=-1.0, sizes=[1, 559, 560])
    assert [each.fpir for each in found] == [None] * 3
    assert found[0].tpir == pytest.approx(1.0)  # the best mate alone
    assert found[1].tpir == found[2].tpir == pytest.approx(1 / 30)  # 558 strangers at most


@pytest.mark.parametrize("size", [0, 21])
def test_a_gallery_says_nothing_of_larger_ones(size):
    held, embeddings = made()
    vectors = pooled(held, embeddings).vectors
    with pytest.raises(InputError, match="expected 1 to 20, the templates of the gallery; got"):
        rates_by_size(
            vectors, held.person, held.galleries[0], held.probes, threshold=0.3, sizes=[5, size]
        )
