"""Prototypes of the training patients as a patient's vector: the arithmetic, restated or as scikit-learn has it."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from bundle.evaluation import CohortPrototypes, Composition, Mixture, Transport
from bundle.evaluation.pooling.transport import sinkhorn
from bundle.evaluation.protocols.inputs import Bags

SIZES = np.array([9, 14, 1, 20, 6])
# of POT 0.9.7's ot.sinkhorn with uniform marginals, regularization .5
COST = np.array([[0.0, 1, 4], [1, 0.5, 2], [3, 2, 0.25], [2, 2, 2]])
PLAN = np.array(
    [
        [2.109708509248e-01, 3.894442469925e-02, 8.472437596677e-05],
        [5.133756337555e-02, 1.903450274403e-01, 8.317409184126e-03],
        [8.223495408690e-04, 8.288142702721e-03, 2.408895077564e-01],
        [7.020256949214e-02, 9.575573849103e-02, 8.404169201683e-02],
    ]
)


def bags(seed=0, sizes=SIZES, dim=3):
    """Regions of three overlapping kinds, far from the origin."""
    rng = np.random.default_rng(seed)
    kinds = np.random.default_rng(9).normal(size=(3, dim)) + 4
    values = kinds[rng.integers(0, 3, sizes.sum())] + 0.7 * rng.normal(size=(sizes.sum(), dim))
    return Bags(values.astype(np.float32), sizes)


def by_patient(regions):
    return [regions.values[regions.owner == i].astype(np.float64) for i in range(len(regions))]


def test_cohort_prototypes_are_a_fixed_point_of_k_means():
    """scikit-learn's Lloyd, started at them, stays there; the variance is that of what is left; found once for all."""
    train, cohort = bags(), CohortPrototypes(3)
    centers, variance = cohort.fit(train)
    theirs = KMeans(3, init=centers, n_init=1, tol=0).fit(train.values.astype(np.float64))
    np.testing.assert_allclose(theirs.cluster_centers_, centers, atol=1e-6)
    left = train.values - theirs.cluster_centers_[theirs.labels_]
    np.testing.assert_allclose(variance, np.square(left).mean(0), atol=1e-6)
    assert cohort.fit(bags()) is cohort.fit(train) and cohort.fit(bags(1)) is not cohort.fit(train)


def test_there_are_no_more_prototypes_than_distinct_regions():
    """Two kinds of regions, sixteen prototypes asked for: two, and every pooling gives finite vectors."""
    alike = Bags(np.float32([[1, 2], [1, 2], [3, 5], [1, 2]]), np.array([3, 1]))
    cohort = CohortPrototypes(16)
    for pooling in (Mixture(cohort), Mixture(cohort, prior_regions=0), Composition(cohort), Transport(cohort)):
        values = pooling.fit(alike).transform(alike).values
        assert values.shape[1] in (2, 4, 10) and np.isfinite(values).all()


def test_composition_equals_scikit_learn_s_prediction():
    """Shares of the clusters that KMeans.predict gives to regions of new patients."""
    train, new = bags(), bags(1)
    centers = CohortPrototypes(3).fit(train).centers
    theirs = KMeans(3, init=centers, n_init=1).fit(train.values.astype(np.float64))
    expected = [np.bincount(theirs.predict(mine), minlength=3) / len(mine) for mine in by_patient(new)]
    got = Composition(CohortPrototypes(3)).fit(train).transform(new).values
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_steps", [1, 3])
def test_a_mixture_without_prior_equals_scikit_learn_s(n_steps):
    """Shares, means and diagonal variances of every patient after one and after several steps, to 1e-6."""
    train, new = bags(), bags(1, np.array([9, 14, 20]))
    pooling = Mixture(CohortPrototypes(3), n_steps, prior_regions=0).fit(train)
    centers, variance = pooling.start
    shares, means, variances = pooling.mixtures(new)
    for i, mine in enumerate(by_patient(new)):
        theirs = GaussianMixture(
            3, covariance_type="diag", tol=0, reg_covar=pooling.floor, max_iter=n_steps, weights_init=np.full(3, 1 / 3),
            means_init=centers, precisions_init=np.tile(1 / variance, (3, 1)), random_state=0,
        ).fit(mine)  # fmt: skip
        np.testing.assert_allclose(shares[i], theirs.weights_, atol=1e-6)
        np.testing.assert_allclose(means[i], theirs.means_, atol=1e-6)
        np.testing.assert_allclose(variances[i], theirs.covariances_, atol=1e-6)
    vectors = np.concatenate([shares, means.reshape(3, -1), variances.reshape(3, -1)], 1)
    np.testing.assert_allclose(pooling.transform(new).values, vectors, atol=1e-6)


def map_step(mine, shares, means, variances, prior, start, floor):
    """One step for one patient, region by region, with pseudo-regions at the start."""
    belongs = np.zeros((len(mine), len(shares)))
    for i, region in enumerate(mine):
        for c in range(len(shares)):
            density = np.exp(-0.5 * (region - means[c]) ** 2 / variances[c]) / np.sqrt(2 * np.pi * variances[c])
            belongs[i, c] = shares[c] * density.prod()
        belongs[i] /= belongs[i].sum()
    found = []
    for c, (center, variance) in enumerate(zip(*start, strict=True)):
        weight = belongs[:, c].sum() + prior
        mean = (belongs[:, c] @ mine + prior * center) / weight
        spread = belongs[:, c] @ (mine - mean) ** 2 + prior * (variance + (center - mean) ** 2)
        found.append((weight / (len(mine) + prior * len(shares)), mean, spread / weight + floor))
    return tuple(np.array(values) for values in zip(*found, strict=True))


@pytest.mark.parametrize(("n_steps", "prior"), [(1, 1.0), (3, 2.5)])
def test_a_mixture_with_prior_equals_a_slow_restatement(n_steps, prior):
    """Pseudo-regions at the start count as regions do; a patient of one region is no exception."""
    train, new = bags(), bags(1)
    pooling = Mixture(CohortPrototypes(3), n_steps, prior).fit(train)
    start = pooling.start.centers, np.tile(pooling.start.variance, (3, 1))
    got = pooling.mixtures(new)
    for i, mine in enumerate(by_patient(new)):
        expected = np.full(3, 1 / 3), *start
        for _ in range(n_steps):
            expected = map_step(mine, *expected, prior, start, pooling.floor)
        for ours, theirs in zip(got, expected, strict=True):
            np.testing.assert_allclose(ours[i], theirs, atol=1e-6)


def test_a_gaussian_without_regions_stays_where_it_started():
    """No prior, a patient at one prototype: the others keep mean and variance, and have a share of 0."""
    corners = np.repeat(np.float32([[0, 0], [100, 0], [0, 100]]), 4, axis=0)
    corners += np.tile(np.float32([[1, 0], [-1, 0], [0, 1], [0, -1]]), (3, 1))
    train = Bags(corners, np.array([12]))
    pooling = Mixture(CohortPrototypes(3), 2, prior_regions=0).fit(train)
    shares, means, variances = pooling.mixtures(Bags(corners[:4], np.array([4])))
    own = int(np.abs(pooling.start.centers).sum(1).argmin())
    others = [c for c in range(3) if c != own]
    np.testing.assert_allclose(shares[0, own], 1, atol=1e-9)
    np.testing.assert_allclose(means[0, others], pooling.start.centers[others])
    np.testing.assert_allclose(variances[0, others], np.tile(pooling.start.variance, (2, 1)))


def slow_transport(mine, centers, unit, entropy, n_iterations):
    """Sinkhorn by loops, as it is written, and what arrives at each prototype."""
    n, c = len(mine), len(centers)
    kernel = np.array([[np.exp(-((x - z) ** 2).sum() / unit / entropy) for z in centers] for x in mine])
    to = np.ones(c)
    for _ in range(n_iterations):
        given = np.array([1 / n / sum(kernel[i, j] * to[j] for j in range(c)) for i in range(n)])
        to = np.array([1 / c / sum(kernel[i, j] * given[i] for i in range(n)) for j in range(c)])
    plan = given[:, None] * kernel * to
    return np.concatenate([sum(c * plan[i, j] * mine[i] for i in range(n)) for j in range(c)])


@pytest.mark.parametrize("n_iterations", [1, 100])
def test_transport_equals_a_slow_restatement(n_iterations):
    """What arrives at each prototype, for patients of 1 to 20 regions, to 1e-6."""
    train, new = bags(), bags(1)
    centers = CohortPrototypes(3).fit(train).centers
    unit = np.mean([((x - z) ** 2).sum() for x in train.values.astype(np.float64) for z in centers])
    expected = [slow_transport(mine, centers, unit, 0.2, n_iterations) for mine in by_patient(new)]
    got = Transport(CohortPrototypes(3), 0.2, n_iterations).fit(train).transform(new).values
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_a_plan_equals_that_of_pot():
    """For two patients, one behind the other; a prototype that is too far for exponentials gets its mass, too."""
    cost = np.concatenate([COST[:1], COST])
    plan = sinkhorn(cost / 0.5, np.array([0, 1, 1, 1, 1]), np.array([1, 4]), 1000)
    np.testing.assert_allclose(plan[0], 1 / 3, atol=1e-12)
    np.testing.assert_allclose(plan[1:], PLAN, atol=1e-10)
    far = sinkhorn(np.array([[0.0, 5000], [1.0, 4000]]), np.zeros(2, int), np.array([2]), 10)
    np.testing.assert_allclose(far.sum(0), 0.5, atol=1e-9)
    assert far.argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize("make", [Mixture, Composition, Transport])
def test_a_patient_s_vector_does_not_depend_on_its_company(make):
    """What is fitted is of the training patients; a patient alone gets what it gets among others."""
    train, new = bags(), bags(1)
    pooling = make(CohortPrototypes(3)).fit(train)
    together = pooling.transform(new).values
    for i in range(len(new)):
        np.testing.assert_allclose(pooling.transform(new.take(np.array([i]))).values[0], together[i], atol=1e-6)
