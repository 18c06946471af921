"""The machinery of `vitjax.evaluate`: jobs, chunks, records, devices."""
