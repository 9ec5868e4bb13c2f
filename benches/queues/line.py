"""A line to a server that is some way off: answers take some milliseconds longer: line.py PORT MS

Prints the port that it listens on.
"""
import asyncio
import sys


async def carry(reader, writer, pause):
    """What is read is written after the pause, in its order; nothing waits for what was before it."""
    loop = asyncio.get_running_loop()
    while data := await reader.read(1 << 16):
        if pause:
            loop.call_later(pause, writer.write, data)
        else:
            writer.write(data)
    writer.close()


async def main():
    port, pause = int(sys.argv[1]), float(sys.argv[2]) / 1000

    async def accept(reader, writer):
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(carry(reader, there_writer, 0), carry(there_reader, writer, pause))
        except OSError:
            pass  # the client is gone
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
