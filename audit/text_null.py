"""Say how well the words alone tell two sets of prompts apart: the null baseline of every text-driven detector.

Public lists of memorized and clean prompts differ in style so much that a classifier which never saw the model
separates them; a detector's success on such lists proves nothing unless this number is near one half.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MIN_PROMPTS = 10
_N_FOLDS = 5


def text_only_auc(first: Sequence[str], second: Sequence[str], seed: int) -> float | None:
    """Cross-validated AUC of a bag-of-words classifier between two sets; None with fewer than ten in either."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    if min(len(first), len(second)) < MIN_PROMPTS:
        return None
    texts, labels = [*first, *second], np.repeat([1, 0], [len(first), len(second)])
    words = TfidfVectorizer(lowercase=False, token_pattern=r"\w+|[^\w\s]", sublinear_tf=True)
    classifier = make_pipeline(words, LogisticRegression(class_weight="balanced", max_iter=1000))
    folds = StratifiedKFold(_N_FOLDS, shuffle=True, random_state=seed)
    predicted = cross_val_predict(classifier, texts, labels, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(labels, predicted))
