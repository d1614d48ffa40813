module godwit

go 1.26.8
