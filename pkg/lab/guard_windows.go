package lab

func ignoreHangup() {}

// alive can't be told here; removing the files fails while a process has them open.
func alive(map[int]bool) bool { return false }
