package show
