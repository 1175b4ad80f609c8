/* test, vm: a program whose every system call is known: no C library, no loader. Usage: workload OPENS READS STEPS [SPIN_MS].
 * It opens /dev/null OPENS times and a file that does not exist once, reads 7 bytes of /dev/zero READS times, writes 3 bytes to
 * /dev/null as often, and calls step(i) for i of 0..STEPS-1. */

#define SYS_READ 0
#define SYS_WRITE 1
#define SYS_CLOSE 3
#define SYS_EXIT_GROUP 231
#define SYS_CLOCK_GETTIME 228
#define SYS_OPENAT 257
#define AT_FDCWD (-100)
#define O_RDWR 2
#define O_CLOEXEC 02000000

static long call(long number, long a, long b, long c)
{
	long result;
	register long d asm("r10") = 0;

	asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(d) : "rcx", "r11", "memory");
	return result;
}

static long open_file(const char *path)
{
	return call(SYS_OPENAT, AT_FDCWD, (long)path, O_RDWR | O_CLOEXEC);
}

/* Brings the text into memory: probes cannot read what is not there yet. */
static void touch(const volatile char *text)
{
	while (*text)
		text++;
}

static long number(const char *text)
{
	long n = 0;

	while (text && *text)
		n = n * 10 + (*text++ - '0');
	return n;
}

static long milliseconds(void)
{
	long time[2];

	call(SYS_CLOCK_GETTIME, 1, (long)time, 0);
	return time[0] * 1000 + time[1] / 1000000;
}

/* What uprobes are put on. */
__attribute__((noinline, used)) long step(long n)
{
	asm volatile("" : "+r"(n));
	return n * 3;
}

__attribute__((used)) void run(long count, char **arguments)
{
	long opens = number(count > 1 ? arguments[1] : 0);
	long reads = number(count > 2 ? arguments[2] : 0);
	long steps = number(count > 3 ? arguments[3] : 0);
	long spin = number(count > 4 ? arguments[4] : 0);
	long zero, null, start;
	char bytes[8];

	touch("/dev/null");
	touch("/dev/zero");
	touch("/there/is/no/such/file");
	for (long i = 0; i < opens; i++)
		call(SYS_CLOSE, open_file("/dev/null"), 0, 0);
	open_file("/there/is/no/such/file");
	zero = open_file("/dev/zero");
	null = open_file("/dev/null");
	for (long i = 0; i < reads; i++) {
		call(SYS_READ, zero, (long)bytes, 7);
		call(SYS_WRITE, null, (long)bytes, 3);
	}
	for (long i = 0; i < steps; i++)
		step(i);
	for (start = milliseconds(); spin && milliseconds() - start < spin;)
		;
	call(SYS_EXIT_GROUP, 0, 0, 0);
}

asm(".globl _start\n_start:\n  mov (%rsp), %rdi\n  lea 8(%rsp), %rsi\n  and $-16, %rsp\n  call run\n");
