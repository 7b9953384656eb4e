/* What a program pays: `costs nothing`, `costs calls N`, `costs faults N`, `costs writer`, `costs reader`. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static char buffer[65536];

int main(int count, char **words)
{
	const char *what = count > 1 ? words[1] : "nothing";
	long times = count > 2 ? atol(words[2]) : 0;

	if (!strcmp(what, "calls"))
		for (long i = 0; i < times; i++)
			syscall(SYS_getppid);
	if (!strcmp(what, "faults")) {
		char *pages = mmap(0, times * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		madvise(pages, times * 4096, MADV_NOHUGEPAGE);
		for (long i = 0; i < times; i++)
			pages[i * 4096] = 1;
	}
	if (!strcmp(what, "writer"))
		for (long left = 1 << 20; left > 0; left -= sizeof buffer)
			if (write(1, buffer, sizeof buffer) < 0)
				return 1;
	if (!strcmp(what, "reader"))
		while (read(0, buffer, sizeof buffer) > 0)
			;
	return 0;
}
