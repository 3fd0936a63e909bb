"""Books of vectors whose sum, one vector of each book, stands for a point: residual vector quantisation.

Level by level, k-means (Lloyd's iterations from a k-means++ start, Arthur and Vassilvitskii 2007) finds the
vectors that best stand for what the levels before it left. Then all books are refined together: with every
point's codes held, each vector moves to where the squared error, averaged over all prefixes of the levels, is
least (block coordinate descent), the points are encoded anew, and so on.

Vector 0 of every book is zero, always: a level that cannot help adds nothing.

Shapes: N points, K their size, L levels, V vectors of a book, n = L or fewer.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["encode", "learn"]

Array = npt.NDArray[np.floating]
Ids = npt.NDArray[np.int64]

_BLOCK = 8192
"""Points whose distances to a whole book are held at once."""
_MOST = 50_000
"""Points that books are learnt from; of more, so many are drawn."""
_ALIKE = 1e-6
"""Squared distances below this share of the squared lengths are rounding."""
_ITERATIONS = 10
_ROUNDS = 10


def encode(books_LVK: Array, points_NK: Array) -> Ids:
    """[N, L]: greedily, at each level the vector next to what is left, or 0 where the point itself, clipped
    to [-1, 1], would come no nearer. So the error of the clipped sum never grows with a level, exactly."""
    blocks = [
        _encode_block(books_LVK, points_NK[start : start + _BLOCK])
        for start in range(0, len(points_NK), _BLOCK)
    ]
    return np.concatenate(blocks)


def _encode_block(books_LVK: Array, points_NK: Array) -> Ids:
    sums_NK = np.zeros_like(points_NK)
    error_N = _clipped_error(sums_NK, points_NK)
    codes = []
    for book_VK in books_LVK:
        codes_N = _nearest(book_VK, points_NK - sums_NK)
        found_NK = sums_NK + book_VK[codes_N]
        found_N = _clipped_error(found_NK, points_NK)
        better_N = found_N < error_N
        codes.append(np.where(better_N, codes_N, 0))
        sums_NK = np.where(better_N[:, None], found_NK, sums_NK)
        error_N = np.minimum(found_N, error_N)
    return np.stack(codes, axis=1)


def _clipped_error(sums_NK: Array, points_NK: Array) -> Array:
    return ((np.clip(sums_NK, -1.0, 1.0) - points_NK) ** 2).sum(axis=1)


def _nearest(book_VK: Array, points_NK: Array) -> Ids:
    """int64 [N]; the squared distance without the part that all vectors share."""
    distances_NV = (book_VK**2).sum(axis=1) - 2.0 * (points_NK @ book_VK.T)
    return distances_NV.argmin(axis=1)


def learn(points_NK: Array, levels: int, codes: int, seed: int) -> npt.NDArray[np.float32]:
    """Books float32 [L, V, K] for points in [-1, 1]; the same for the same seed. With fewer different points
    than codes, the vectors that are left over are zero."""
    random = np.random.default_rng(seed)
    points = points_NK.astype(np.float32)
    if len(points) > _MOST:
        points = points[random.permutation(len(points))[:_MOST]]
    left: Array = points
    books = []
    for _ in range(levels):
        book = _k_means(left, codes, random)
        left = left - book[_nearest_by_block(book, left)]
        books.append(book)
    return _refined(np.stack(books), points)


def _nearest_by_block(book_VK: Array, points_NK: Array) -> Ids:
    starts = range(0, len(points_NK), _BLOCK)
    return np.concatenate([_nearest(book_VK, points_NK[start : start + _BLOCK]) for start in starts])


def _k_means(points_NK: Array, codes: int, random: np.random.Generator) -> Array:
    book = _spread_start(points_NK, codes, random)
    for _ in range(_ITERATIONS):
        codes_N = _nearest_by_block(book, points_NK)
        means, used = _means(points_NK, codes_N, codes)
        used[0] = False  # zero stays
        book = np.where(used[:, None], means, book)
    return book


def _spread_start(points_NK: Array, codes: int, random: np.random.Generator) -> Array:
    """k-means++: the first is zero; each other is a point, drawn by its squared distance to the nearest."""
    book = np.zeros((codes, points_NK.shape[1]), np.float32)
    norms_N = (points_NK**2).sum(axis=1)
    nearest_N: Array = norms_N
    for code in range(1, codes):
        cumulative = np.cumsum(nearest_N, dtype=np.float64)
        if cumulative[-1] <= _ALIKE * norms_N.sum():  # every point has its vector
            break
        chosen = int(np.searchsorted(cumulative, random.random() * cumulative[-1], side="right"))
        book[code] = points_NK[min(chosen, len(points_NK) - 1)]
        to_it_N = norms_N - 2.0 * (points_NK @ book[code]) + (book[code] ** 2).sum()
        nearest_N = np.minimum(nearest_N, np.maximum(to_it_N, 0.0))
    return book


def _means(values_NK: Array, codes_N: Ids, codes: int) -> tuple[Array, npt.NDArray[np.bool_]]:
    """[V, K]: the mean of the values with each code, and bool [V]: which codes have any."""
    from scipy.sparse import csr_matrix

    count = len(values_NK)
    members_VN = csr_matrix(
        (np.ones(count, values_NK.dtype), (codes_N, np.arange(count))), shape=(codes, count)
    )
    size_V = np.bincount(codes_N, minlength=codes)
    return (members_VN @ values_NK) / np.maximum(size_V, 1).astype(values_NK.dtype)[:, None], size_V > 0


def _refined(books_LVK: Array, points_NK: Array) -> npt.NDArray[np.float32]:
    books = books_LVK.copy()
    levels, codes, _ = books.shape
    for _ in range(_ROUNDS):
        codes_NL = encode(books, points_NK)
        # From the last level to the first: `left` is what level l and those before it leave of each point,
        # `later` the sum over the prefixes from l on of what the levels after l add to them.
        left = points_NK - sum(books[level][codes_NL[:, level]] for level in range(levels))
        later = np.zeros_like(points_NK)
        for level in reversed(range(levels)):
            prefixes = levels - level
            chosen_N = codes_NL[:, level]
            step, _ = _means(left - later / prefixes, chosen_N, codes)
            step[0] = 0.0
            left = left + books[level][chosen_N]
            books[level] += step
            later = later + prefixes * books[level][chosen_N]
    return books.astype(np.float32)
