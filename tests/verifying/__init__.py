"""Independent implementations that the tests compare vitjax with."""
