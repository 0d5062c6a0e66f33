"""Networks that label photos, to score what labels-to-photos translators make: the FCN-score without Caffe."""
