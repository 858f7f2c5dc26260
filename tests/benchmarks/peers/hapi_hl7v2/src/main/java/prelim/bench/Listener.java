package prelim.bench;

import ca.uhn.hl7v2.DefaultHapiContext;
import ca.uhn.hl7v2.HL7Exception;
import ca.uhn.hl7v2.HapiContext;
import ca.uhn.hl7v2.app.HL7Service;
import ca.uhn.hl7v2.model.Message;
import ca.uhn.hl7v2.protocol.ReceivingApplication;
import ca.uhn.hl7v2.protocol.ReceivingApplicationException;
import ca.uhn.hl7v2.util.StandardSocketFactory;
import ca.uhn.hl7v2.util.idgenerator.InMemoryIDGenerator;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketAddress;
import java.net.SocketException;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/**
 * HAPI's own server with an application that accepts every message: prints its port, and ends with its input.
 */
public final class Listener {

    private Listener() {}

    /** HAPI binds every address and a port that it was told: this takes loopback and a free port instead. */
    private static final class LoopbackSocket extends ServerSocket {

        private final CompletableFuture<Integer> port;

        LoopbackSocket(CompletableFuture<Integer> port) throws IOException {
            this.port = port;
        }

        @Override
        public void bind(SocketAddress ignored, int backlog) throws IOException {
            super.bind(new InetSocketAddress(InetAddress.getByName("127.0.0.1"), 0), 128);
            port.complete(getLocalPort());
        }
    }

    private static final class LoopbackFactory extends StandardSocketFactory {

        private final CompletableFuture<Integer> port = new CompletableFuture<>();

        @Override
        public ServerSocket createServerSocket() throws IOException {
            return new LoopbackSocket(port);
        }

        @Override
        public void configureNewAcceptedSocket(Socket socket) throws SocketException {
            super.configureNewAcceptedSocket(socket);
            // HAPI leaves Nagle's algorithm on, which would make answers in a row wait for the peer's kernel.
            socket.setTcpNoDelay(true);
        }
    }

    private static final class Accepting implements ReceivingApplication<Message> {

        @Override
        public Message processMessage(Message message, Map<String, Object> metadata)
                throws ReceivingApplicationException, HL7Exception {
            try {
                return message.generateACK();
            } catch (IOException failed) {
                throw new ReceivingApplicationException(failed);
            }
        }

        @Override
        public boolean canProcess(Message message) {
            return true;
        }
    }

    public static void main(String[] arguments) throws Exception {
        LoopbackFactory sockets = new LoopbackFactory();
        HapiContext context = new DefaultHapiContext();
        context.setSocketFactory(sockets);
        // HAPI counts its MSH-10 in a file of the working folder; in memory is faster and leaves nothing there.
        context.getParserConfiguration().setIdGenerator(new InMemoryIDGenerator());
        HL7Service server = context.newServer(0, false);
        server.registerApplication(new Accepting());
        server.startAndWait();
        System.out.println(sockets.port.get());
        while (System.in.read() >= 0) {
            // What comes is of no interest, only its end.
        }
        System.exit(0);
    }
}
