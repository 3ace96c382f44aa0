package child

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// headlessVariable makes this program one whose first thread has ended while others live: it looks like a zombie.
const headlessVariable = "ETCDX_TEST_HEADLESS"

func TestMain(m *testing.M) {
	if os.Getenv(headlessVariable) == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	if syscall.Gettid() != os.Getpid() {
		os.Exit(3)
	}
	go func() { time.Sleep(time.Minute); os.Exit(0) }()  // what has to live until it is killed
	_, _, _ = syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0) // ends this thread alone
}

// A process with a living thread is not over: it holds its files, and whatever it locked with them.
func TestAProcessWithoutItsFirstThreadLives(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), headlessVariable+"=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	pid := strconv.Itoa(cmd.Process.Pid)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err == nil && strings.Contains(string(stat), ") Z ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not look like a zombie: %s", stat)
		}
	}
	if !lives(cmd.Process.Pid) || !Lives(cmd.Process) {
		t.Error("it counts as ended while a thread of it lives")
	}
	_ = cmd.Process.Kill()
	for deadline := time.Now().Add(10 * time.Second); Lives(cmd.Process); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it counts as living when it has ended")
		}
	}
}
