"""What may not be trusted in translations: hidden inputs (Chu et al. 2017), lost and invented structures."""
