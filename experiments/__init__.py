"""Programs that train, certify and measure the networks of lipjax."""
