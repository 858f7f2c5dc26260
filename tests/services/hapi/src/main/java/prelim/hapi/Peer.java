package prelim.hapi;

import ca.uhn.fhir.rest.server.RestfulServer;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.springframework.web.context.support.AnnotationConfigWebApplicationContext;

/** A FHIR R4 server on loopback: {@code java prelim.hapi.Peer PORT} answers under {@code /fhir}. */
public final class Peer {

    private Peer() {}

    public static void main(String[] arguments) {
        try {
            serve(Integer.parseInt(arguments[0]));
        } catch (Exception broken) {
            // Jetty's threads would keep a half-started process alive, and the starter waiting.
            broken.printStackTrace();
            System.exit(1);
        }
    }

    private static void serve(int port) throws Exception {
        Server server = new Server(new InetSocketAddress(InetAddress.getLoopbackAddress(), port));
        ServletContextHandler handler = new ServletContextHandler("/");
        server.setHandler(handler);
        server.start();

        AnnotationConfigWebApplicationContext spring = new AnnotationConfigWebApplicationContext();
        spring.setServletContext(handler.getServletContext());
        spring.register(PeerConfig.class);
        spring.refresh();
        handler.addServlet(new ServletHolder(spring.getBean(RestfulServer.class)), "/fhir/*");
        server.join();
    }
}
