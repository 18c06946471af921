from vitjax.cli.main import main

main()
