module gorunner

go 1.19
