"""Base classes of custom predictors. The node finds the class in the endpoint's file by them."""


class BasePredictor:
    """`data_folder`: absolute path of the endpoint's folder of files."""

    def __init__(self, data_folder=None):
        self.data_folder = data_folder

    def predict(self, features_df):
        raise NotImplementedError("a predictor needs a method predict(self, features_df)")


class ClassificationPredictor(BasePredictor):
    """predict() returns predictions, or (predictions, probabilities, custom keys)."""


class RegressionPredictor(BasePredictor):
    """predict() returns predictions, or (predictions, custom keys)."""
