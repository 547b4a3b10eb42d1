"""Text out of a trained model: prefill, decode with states, sampling."""
