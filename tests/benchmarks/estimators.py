"""TensorgradClassifier beside scikit-learn's MLPClassifier at equal work, interleaved in one run.

    python tests/benchmarks/estimators.py [--rounds 5] [--only digits] [--dtypes float32]

Equal work: one hidden layer of 100 relu, Adam at 0.001, no penalty, equal batches, epochs and dtype, no early
stop. The two take turns; the order changes from round to round, and so does the seed. Prints accuracy on the
test data (mean and range over the rounds), and wall time and CPU time of `fit` (median and minimum), with the
ratio of tensorgrad's time to scikit-learn's: the median of the rounds' ratios. Fashion-MNIST is left out
where it is not found; TENSORGRAD_DATA_DIR says where it lies.
"""

import argparse
import os
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from tensorgrad.data import load
from tensorgrad.data.idx import DataError
from tensorgrad.estimators import TensorgradClassifier

CASES = [("digits", 32, 20), ("digits", 200, 60), ("fashion-mnist", 128, 3)]  # data, batch size, epochs


def estimators(batch_size, epochs, seed):
    return {
        "tensorgrad": TensorgradClassifier(
            hidden_layer_sizes=(100,), batch_size=batch_size, max_epochs=epochs, tol=None, random_state=seed
        ),
        "scikit-learn": MLPClassifier(
            hidden_layer_sizes=(100,), batch_size=batch_size, max_iter=epochs, alpha=0.0, tol=0.0,
            n_iter_no_change=epochs, random_state=seed,
        ),
    }  # fmt: skip


def measured(model, x, y, x_test, y_test):
    begun, cpu = time.perf_counter(), time.process_time()
    model.fit(x, y)
    seconds = time.perf_counter() - begun, time.process_time() - cpu
    return (*seconds, model.score(x_test, y_test))


def compare(name, batch_size, epochs, dtype, rounds):
    data = load(name)
    x, x_test = (images.reshape(len(images), -1).astype(dtype) for images in (data.x_train, data.x_test))
    found = {"tensorgrad": [], "scikit-learn": []}
    for seed in range(-1, rounds):  # the first warms up
        turns = list(estimators(batch_size, epochs, max(seed, 0)).items())
        for who, model in turns if seed % 2 else reversed(turns):
            figures = measured(model, x, data.y_train, x_test, data.y_test)
            if seed >= 0:
                found[who].append(figures)
    print(f"\n{name}, {len(x)} rows, batches of {batch_size}, {epochs} epochs, {dtype}")
    print(f"  {'':14}{'accuracy':>22}{'wall, s':>18}{'CPU, s':>18}")
    for who, rows in found.items():
        wall, cpu, score = np.array(rows).T
        times = "".join(f"{np.median(t):9.2f} ({t.min():6.2f})" for t in (wall, cpu))
        print(f"  {who:14}{score.mean():8.4f} ({score.min():.4f}-{score.max():.4f}){times}")
    ratios = [np.median([a[i] / b[i] for a, b in zip(*found.values(), strict=True)]) for i in (0, 1)]
    print(f"  ratio         {'':21} {ratios[0]:8.2f}{'':9} {ratios[1]:8.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="digits,fashion-mnist", help="data sets")
    parser.add_argument("--dtypes", default="float32,float64")
    parser.add_argument("--blas-threads", type=int, default=1, help="of both")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is the measure here
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, BLAS threads {chosen.blas_threads}")
    with threadpool_limits(chosen.blas_threads, user_api="blas"):
        for name, batch_size, epochs in CASES:
            for dtype in chosen.dtypes.split(","):
                if name not in chosen.only.split(","):
                    continue
                try:
                    compare(name, batch_size, epochs, dtype, chosen.rounds)
                except (DataError, ImportError) as error:
                    print(f"\n{name} left out: {error}")
    print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
