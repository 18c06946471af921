"""What vitjax costs and what its methods do, measured; every figure in the README names its command here."""
